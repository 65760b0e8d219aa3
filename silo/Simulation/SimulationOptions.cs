using System.ComponentModel.DataAnnotations;

namespace Instances.Simulation;

/// <summary>Configuration of a host with a simulated hypervisor.</summary>
internal sealed record SimulationOptions
{
    public const string Section = "Simulation";

    /// <summary>Holds one file for each machine. Created if it is missing.</summary>
    [Required]
    public string Folder { get; set; } = "data/machines";
}

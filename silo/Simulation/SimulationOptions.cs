using System.ComponentModel.DataAnnotations;

namespace Instances.Simulation;

/// <summary>Of a host whose hypervisor is simulated.</summary>
internal sealed record SimulationOptions
{
    public const string Section = "Simulation";

    /// <summary>Holds one file for each machine. Created if it is missing.</summary>
    [Required]
    public string Folder { get; set; } = "data/machines";
}

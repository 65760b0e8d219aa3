using System.ComponentModel.DataAnnotations;

namespace Instances.DataPlane;

/// <summary>Configuration section <c>DataPlane</c>.</summary>
internal sealed class DataPlaneOptions
{
    /// <summary>The URL at which other processes of the datacenter reach this silo's web server, such as <c>http://host-1:8080</c>; empty for the first address that
    /// it listens on, which must be one that they can reach.</summary>
    [RegularExpression(@"\A(https?://.+)?\z", ErrorMessage = "DataPlane:Address is an absolute http or https URL.")]
    public string Address { get; set; } = "";
}

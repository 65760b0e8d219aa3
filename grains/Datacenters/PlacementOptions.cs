using System.ComponentModel.DataAnnotations;

namespace Instances.Datacenters;

public enum PlacementPolicy
{
    /// <summary>Each machine goes to the host with the most free memory, so that a failing host affects the fewest machines.</summary>
    Spread,

    /// <summary>Each machine goes to the fullest host that still fits: the others stay free for large machines, or can be switched off.</summary>
    Packed,
}

/// <summary>Configuration section <c>Placement</c>.</summary>
public sealed class PlacementOptions
{
    public const string Section = "Placement";

    [EnumDataType(typeof(PlacementPolicy), ErrorMessage = "Placement:Policy is spread or packed.")]
    public PlacementPolicy Policy { get; set; } = PlacementPolicy.Spread;
}

using System.ComponentModel.DataAnnotations;

namespace Instances.Operations;

/// <summary>Configuration section <c>Gateway</c>.</summary>
internal sealed class WatchOptions
{
    public const string Section = "Gateway";

    /// <summary>How many connections of this gateway may watch operations at a time.</summary>
    [Range(1, 1_000_000)]
    public int MaxWatches { get; set; } = 1000;
}

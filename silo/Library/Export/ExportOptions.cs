using System.ComponentModel.DataAnnotations;

namespace Instances.Library.Export;

/// <summary>Configuration section <c>Export</c>.</summary>
public sealed class ExportOptions
{
    /// <summary>How many images the library's silo exports at a time.</summary>
    [Range(1, 1000)]
    public int MaxExports { get; set; } = 4;
}

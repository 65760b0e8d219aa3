using System.ComponentModel.DataAnnotations;

namespace Instances.Library.Export;

/// <summary>Configuration section <c>Export</c>.</summary>
public sealed class ExportOptions
{
    /// <summary>How many images are exported at once by the library's silo.</summary>
    [Range(1, 1000)]
    public int MaxExports { get; set; } = 4;
}

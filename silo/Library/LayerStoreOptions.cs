using System.ComponentModel.DataAnnotations;

namespace Instances.Library;

/// <summary>Configuration section <c>LayerStore</c>.</summary>
public sealed class LayerStoreOptions
{
    /// <summary>The folder of layers and manifests. Made where it is missing.</summary>
    [Required]
    public string Folder { get; set; } = "data/library";

    /// <summary>Space in bytes that imports leave free: running machines grow into it.</summary>
    [Range(0, long.MaxValue)]
    public long MinimumFreeBytes { get; set; } = 256L << 20;
}

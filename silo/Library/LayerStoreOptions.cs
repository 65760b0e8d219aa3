using System.ComponentModel.DataAnnotations;

namespace Instances.Library;

/// <summary>How layers are transferred into a store.</summary>
public enum TransferMode
{
    /// <summary>As a link, a clone or a copy if this silo can see the offered file; otherwise over HTTP.</summary>
    Auto,

    /// <summary>Always over HTTP: for machines on which one path means different files.</summary>
    Http,
}

/// <summary>Configuration section <c>LayerStore</c>: the layers of this host, and how they are moved.</summary>
public sealed class LayerStoreOptions
{
    /// <summary>The folder of this host's layers, and of the library, unless it has its own. Created if it is missing.</summary>
    [Required]
    public string Folder { get; set; } = "data/library";

    /// <summary>Space in bytes that imports and transfers leave free, because running machines grow.</summary>
    [Range(0, long.MaxValue)]
    public long MinimumFreeBytes { get; set; } = 256L << 20;

    /// <summary>How many bytes of layers a host keeps if its folder is not the library's; 0 for half of the file system.</summary>
    [Range(0, long.MaxValue)]
    public long CacheBytes { get; set; }

    public TransferMode Transfer { get; set; }

    /// <summary>The number of the group that may read layers if the silo is root: QEMU runs in it. Hosts that share a folder use the same one.</summary>
    [Range(1, int.MaxValue)]
    public int ReadersGroup { get; set; } = 69_999;

    /// <summary>How many layers are transferred into this silo at a time.</summary>
    [Range(1, 64)]
    public int MaxTransfers { get; set; } = 4;

    /// <summary>How long the other side of a transfer may be silent before the silo connects again.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan SilenceBound { get; set; } = TimeSpan.FromSeconds(30);
}

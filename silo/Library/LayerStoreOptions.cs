using System.ComponentModel.DataAnnotations;

namespace Instances.Library;

/// <summary>How layers come into a store.</summary>
public enum TransferMode
{
    /// <summary>As a link, a clone or a copy where the file that is offered can be seen here; over HTTP otherwise.</summary>
    Auto,

    /// <summary>Over HTTP, whatever can be seen here: for machines where one path means different files.</summary>
    Http,
}

/// <summary>Configuration section <c>LayerStore</c>: the layers of this host, and how they are moved.</summary>
public sealed class LayerStoreOptions
{
    /// <summary>The folder of this host's layers, and of the library where that has none of its own. Created if it is missing.</summary>
    [Required]
    public string Folder { get; set; } = "data/library";

    /// <summary>Space in bytes that imports and transfers leave free: running machines grow into it.</summary>
    [Range(0, long.MaxValue)]
    public long MinimumFreeBytes { get; set; } = 256L << 20;

    /// <summary>How many bytes of layers a host whose folder is not the library's keeps; 0 stands for half of the file system.</summary>
    [Range(0, long.MaxValue)]
    public long CacheBytes { get; set; }

    public TransferMode Transfer { get; set; }

    /// <summary>The number of the group that may read layers if the silo is root: QEMU runs in it. Hosts that share a folder use the same one.</summary>
    [Range(1, int.MaxValue)]
    public int ReadersGroup { get; set; } = 69_999;

    /// <summary>How many layers come into this silo at a time.</summary>
    [Range(1, 64)]
    public int MaxTransfers { get; set; } = 4;

    /// <summary>How long the other side of a transfer may be silent before the connection is given up and made anew.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan SilenceBound { get; set; } = TimeSpan.FromSeconds(30);
}

using System.ComponentModel.DataAnnotations;

namespace Instances.Library;

/// <summary>Configuration section <c>Library</c>.</summary>
public sealed class LibraryOptions
{
    /// <summary>The highest configurable rate: qemu-img accepts no higher one.</summary>
    public const long MaxBytesPerSecond = 1_000_000_000_000;

    /// <summary>The folder of layers and manifests; empty for the host's own, <c>LayerStore:Folder</c>. Created if it is missing.</summary>
    public string Folder { get; set; } = "";

    /// <summary>How long a retired image is kept before it is deleted; 0 deletes it at once.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "3650.00:00:00")]
    public TimeSpan GracePeriod { get; set; } = TimeSpan.FromHours(24);

    /// <summary>The largest upload in bytes.</summary>
    [Range(1, long.MaxValue)]
    public long MaxUploadBytes { get; set; } = 1L << 40;

    /// <summary>How often the library is swept.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan SweepPeriod { get; set; } = TimeSpan.FromHours(1);

    /// <summary>How long a request that sends bytes of an import may be silent. There is no lowest rate.</summary>
    [Range(typeof(TimeSpan), "00:00:05", "1.00:00:00")]
    public TimeSpan UploadIdleBound { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>The time in which every layer of the library is read once, to check its hash.</summary>
    [Range(typeof(TimeSpan), "00:01:00", "3650.00:00:00")]
    public TimeSpan ScrubPeriod { get; set; } = TimeSpan.FromDays(30);

    /// <summary>The highest rate of that reading, in bytes per second.</summary>
    [Range(1L << 16, long.MaxValue)]
    public long ScrubBytesPerSecond { get; set; } = 32L << 20;

    /// <summary>Other datacenters that are asked for a good copy of a corrupt layer when no host has one, in this order; empty for none.</summary>
    [PeerUrls]
    public IList<LibraryPeer> Peers { get; init; } = [];

    /// <summary>How long an upload in parts waits for the next byte, so that clients can reconnect.</summary>
    [Range(typeof(TimeSpan), "00:00:05", "365.00:00:00")]
    public TimeSpan UploadResumeBound { get; set; } = TimeSpan.FromHours(24);

    /// <summary>How many imports make progress at a time in the datacenter: they receive bytes, wait for their conversion, or are converted. Uploads in parts that wait for bytes do not count.</summary>
    [Range(1, 10_000)]
    public int MaxUploads { get; set; } = 16;

    /// <summary>The most layers that a disk of an image has in the long run, its base included; a longer chain is shortened in the background. Reading through 9 layers takes as long as
    /// through one, through 17 up to one and a half times, through 65 three to four times as long.</summary>
    [Range(2, 64)]
    public int MaxChainDepth { get; set; } = 8;

    /// <summary>How often compaction scans for long chains.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan CompactionPeriod { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>The highest rate at which compaction reads and writes, in bytes per second, all its work together.</summary>
    [Range(1L << 16, MaxBytesPerSecond)]
    public long CompactionBytesPerSecond { get; set; } = 32L << 20;

    /// <summary>How long after a request a sweep begins: requests in quick succession share one sweep. Not configurable; tests lengthen it.</summary>
    internal TimeSpan SweepDelay { get; set; } = TimeSpan.FromMilliseconds(200);
}

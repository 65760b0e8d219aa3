using System.ComponentModel.DataAnnotations;

namespace Instances.Hosts;

/// <summary>Configuration section <c>Host</c>.</summary>
public sealed class HostOptions
{
    /// <summary>The host's name; the silo on it has the same.</summary>
    [Required, RegularExpression(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z", ErrorMessage = "Host:Name has 1 to 63 letters, digits and hyphens.")]
    public string Name { get; set; } = "local";

    private const long ReservedAtLeastBytes = 1L << 30;
    private const int ReservedShare = 16;
    private const int ReservedAtMostShare = 4;

    /// <summary>Memory for machines in bytes; 0 for the host's memory less <see cref="ReservedMemoryBytes"/>.</summary>
    [Range(0, long.MaxValue)]
    public long MemoryBytes { get; set; }

    /// <summary>Memory in bytes that the host keeps for its kernel, its page cache and the silo; null for 1 GiB and a sixteenth of its memory, at most a quarter.</summary>
    [Range(0, long.MaxValue)]
    public long? ReservedMemoryBytes { get; set; }

    /// <param name="hostBytes">The host's memory.</param>
    public long MemoryForMachines(long hostBytes) => MemoryBytes > 0
        ? MemoryBytes
        : Math.Max(0, hostBytes - (ReservedMemoryBytes ?? Math.Min(hostBytes / ReservedAtMostShare, ReservedAtLeastBytes + (hostBytes / ReservedShare))));

    /// <summary>Processors for machines; 0 for the host's processors.</summary>
    [Range(0, 65_536)]
    public int Cpus { get; set; }

    /// <summary>Virtual CPUs for each processor.</summary>
    [Range(1, 1024)]
    public int CpuOvercommit { get; set; } = 16;

    /// <summary>Space in bytes that placement leaves free in the layer store's file system, because running machines grow.</summary>
    [Range(0, long.MaxValue)]
    public long DiskHeadroomBytes { get; set; } = 256L << 20;

    /// <summary>TCP ports that the silo itself listens on: no machine gets one. Set by the silo.</summary>
    public IReadOnlyList<int> OwnPorts { get; set; } = [];

    /// <summary>How long machines are held paused or frozen for a capture before the host asks whether to release them.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "01:00:00")]
    public TimeSpan HoldBound { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>How often a machine that ended without a request is restarted within <see cref="RestartWindow"/>; 0 leaves it stopped.</summary>
    [Range(0, 100)]
    public int MaxRestarts { get; set; } = 3;

    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan RestartWindow { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>The pause before the first restart. Each further pause is four times as long.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:10:00")]
    public TimeSpan RestartPause { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The pause before a machine that a disk error of the host has paused is resumed. Each further pause is twice as long, up to <see cref="MaxDiskRetryPause"/>.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "01:00:00")]
    public TimeSpan DiskRetryPause { get; set; } = TimeSpan.FromSeconds(10);

    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan MaxDiskRetryPause { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>How long guests may take to shut down before the host does. After it their machines are powered off.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan GuestShutdownBound { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>How long the guest agent may take to freeze file systems.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:01:00")]
    public TimeSpan FreezeBound { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a guest may take to shut down before a capture.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:01:30")]
    public TimeSpan ShutdownBound { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>The delay between an undeployment and the sweep of layers, so that undeployments in quick succession share one sweep. Not configurable; tests shorten it.</summary>
    internal TimeSpan SweepDelay { get; set; } = TimeSpan.FromSeconds(2);
}

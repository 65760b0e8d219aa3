namespace Instances.Library;

/// <summary>The limits of a process. It is ended if it exceeds one.</summary>
/// <param name="Time">Wall-clock time; infinite for a process that waits for others.</param>
/// <param name="CpuSeconds">Of processor time.</param>
/// <param name="MemoryBytes">Of address space.</param>
/// <param name="FileBytes">The largest file that it may write.</param>
internal sealed record ProcessBounds(TimeSpan Time, int CpuSeconds, long MemoryBytes, long FileBytes)
{
    /// <summary>Bytes of output that are kept of each of the two streams. A process that writes more is ended, because no valid output is longer.</summary>
    public const int OutputBytes = 64 << 10;

    /// <summary>For programs that only read or write headers.</summary>
    public static ProcessBounds Short { get; } = new(TimeSpan.FromSeconds(30), CpuSeconds: 10, MemoryBytes: 1L << 30, FileBytes: 1L << 30);
}

namespace Instances.Library;

/// <summary>What a process may use. Past any of them it is ended.</summary>
/// <param name="Time">By the clock; infinite for one that waits for others.</param>
/// <param name="CpuSeconds">Of processor time.</param>
/// <param name="MemoryBytes">Of address space.</param>
/// <param name="FileBytes">The largest file that it may write.</param>
internal sealed record ProcessBounds(TimeSpan Time, int CpuSeconds, long MemoryBytes, long FileBytes)
{
    /// <summary>Bytes of output that are kept, of each of the two streams. A process that writes more is ended: none of ours has more to say.</summary>
    public const int OutputBytes = 64 << 10;

    /// <summary>For what only reads or writes headers.</summary>
    public static ProcessBounds Short { get; } = new(TimeSpan.FromSeconds(30), CpuSeconds: 10, MemoryBytes: 1L << 30, FileBytes: 1L << 30);
}

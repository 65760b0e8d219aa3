namespace Instances.Qemu;

/// <summary>Writes the kernel's buffers of files to disk.</summary>
/// <remarks>A sync blocks its thread until the disk has written everything, and cannot be cancelled. So each runs on a thread of its own, not on the thread pool, and a host has a
/// bounded number of these threads.</remarks>
/// <param name="sync">Syncs the file with this path.</param>
internal sealed class DiskSync(Action<string> sync, TimeProvider time)
{
    public const int MaxThreads = 8;

    private readonly SemaphoreSlim _threads = new(MaxThreads);

    /// <summary>Syncs the files, one after the other.</summary>
    /// <returns>How long the disk took.</returns>
    /// <exception cref="OperationCanceledException">The sync of one file may still run.</exception>
    public async Task<TimeSpan> Pass(IReadOnlyList<string> paths, CancellationToken cancellationToken)
    {
        await _threads.WaitAsync(cancellationToken);
        var pass = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        return await pass.WaitAsync(cancellationToken);

        TimeSpan Run()
        {
            try
            {
                var since = time.GetTimestamp();
                foreach (var path in paths)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    sync(path);
                }

                return time.GetElapsedTime(since);
            }
            finally
            {
                _threads.Release();
            }
        }
    }
}

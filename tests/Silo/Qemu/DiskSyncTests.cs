using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Qemu;

public sealed class DiskSyncTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Pass_OfManyMachinesOnADiskThatHangs_TakesABoundedNumberOfThreadsAndNoneOfThePool()
    {
        using var works = new ManualResetEventSlim();
        var (begun, ofThePool) = (0, 0);
        var disks = new DiskSync(
            _ =>
            {
                if (Thread.CurrentThread.IsThreadPoolThread) Interlocked.Increment(ref ofThePool);
                Interlocked.Increment(ref begun);
                works.Wait(Stop);
            },
            TimeProvider.System);
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        var passes = Enumerable.Range(0, 3 * DiskSync.MaxThreads).Select(_ => disks.Pass(["disk"], cancel.Token)).ToList();
        await QemuLab.Until(() => Task.FromResult(Volatile.Read(ref begun) == DiskSync.MaxThreads), () => $"{begun} threads");

        // Nobody waits any longer. Those that have not begun never do.
        await cancel.CancelAsync();
        foreach (var pass in passes) await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pass);
        works.Set();
        await disks.Pass(["disk"], Stop);
        Assert.Equal((DiskSync.MaxThreads + 1, 0), (begun, ofThePool));
    }

    [Fact]
    public async Task Pass_FileCannotBeSynced_FailsAndGivesItsThreadBack()
    {
        var disks = new DiskSync(path => throw new IOException(path), new FakeTimeProvider());
        for (var i = 0; i <= DiskSync.MaxThreads; i++) Assert.Equal("disk", (await Assert.ThrowsAsync<IOException>(() => disks.Pass(["disk"], Stop))).Message);
    }
}

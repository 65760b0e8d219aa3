using System.Globalization;

namespace Instances.Qemu;

/// <summary>Shuts the guests of a host down before the host itself goes down. Works on the run folders, while the silo is stopped.</summary>
/// <remarks>
/// The silo is stopped first for two reasons: QEMU serves one connection at a time, and a silo that saw a guest shut down would treat that as a user's wish. With the silo stopped, the end of these
/// machines is not observed, and the silo starts them again after the host's next boot.
/// </remarks>
internal sealed class GuestShutdown(QemuOptions options, TimeProvider time, TextWriter output)
{
    /// <summary>A guest that is booting ignores its power button, so the button is pressed again.</summary>
    private static readonly TimeSpan PressEvery = TimeSpan.FromSeconds(10);

    /// <param name="bound">How long the guests may take. After it their machines are powered off.</param>
    /// <returns>Whether all machines have ended.</returns>
    public async Task<bool> Run(TimeSpan bound, CancellationToken cancellationToken)
    {
        var root = Path.GetFullPath(options.RunFolder);
        if (!Directory.Exists(root)) return true;
        var since = time.GetTimestamp();
        var machines = QemuProcess.FindAll(QemuHypervisor.ResolveLinks(root)).Select(machine => End(RunFolder.For(root, machine.Key), machine.Value)).ToList();
        return (await Task.WhenAll(machines)).All(hasEnded => hasEnded);

        async Task<bool> End(RunFolder folder, QemuProcess process)
        {
            var name = folder.ReadMachine()?.Name ?? Path.GetFileName(folder.Path);
            var (hasEnded, what) = await Shutdown(folder, process, () => bound - time.GetElapsedTime(since), cancellationToken);
            await output.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{name}: {what}"));
            return hasEnded;
        }
    }

    private async Task<(bool HasEnded, string What)> Shutdown(RunFolder folder, QemuProcess process, Func<TimeSpan> left, CancellationToken cancellationToken)
    {
        try
        {
            await using var qmp = await Connect(folder, cancellationToken);
            var status = await qmp.Execute("query-status", null, cancellationToken);
            var isRunning = status.GetProperty("running").GetBoolean();
            while (isRunning && left() is var wait && wait > TimeSpan.Zero)
            {
                await qmp.Execute("system_powerdown", null, cancellationToken);
                if (await process.WaitForEnd(wait < PressEvery ? wait : PressEvery, time, cancellationToken)) return (true, "shut down");
            }

            await qmp.Execute("quit", null, cancellationToken);
            return await process.WaitForEnd(options.StopBound, time, cancellationToken)
                ? (true, isRunning ? "powered off, because its guest did not shut down in time" : "powered off, because it was paused")
                : (false, "does not end: check the host's disks");
        }
        catch (Exception e) when (e is QmpException)
        {
            return process.IsAlive ? (false, e.Message) : (true, "shut down");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return (false, "its QEMU does not answer. If the silo of this host is running, stop it first: QEMU talks to one program at a time");
        }
    }

    private async Task<QmpClient> Connect(RunFolder folder, CancellationToken cancellationToken)
    {
        using var timer = new CancellationTokenSource(options.StopBound, time);
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        return await QmpClient.Connect(folder.QemuPath, RunFolder.QmpSocket, options.CommandBound, time, bound.Token);
    }
}

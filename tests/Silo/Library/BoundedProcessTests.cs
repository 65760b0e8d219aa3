using Xunit;

namespace Instances.Library;

public sealed class BoundedProcessTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Run_WhenThisProcessIsKilled_EndsToo()
    {
        var outcome = await BoundedProcess.Run([.. BoundedProcess.DieWithParent, "setpriv", "--dump"], ProcessBounds.Short, Stop);

        Assert.Contains("Parent death signal: KILL", outcome.Output, StringComparison.Ordinal);
    }

    /// <summary>For the kernel, the parent is the thread that started the child, not the process.</summary>
    [Fact]
    public async Task Run_WhenTheCallersThreadEnds_GoesOn()
    {
        Task<ProcessOutcome>? running = null;
        var caller = new Thread(() => running = BoundedProcess.Run([.. BoundedProcess.DieWithParent, "sleep", "1"], ProcessBounds.Short, CancellationToken.None));
        caller.Start();
        caller.Join();

        Assert.Equal(0, (await running!).ExitCode);
    }
}

using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Qemu;

public sealed class UntilQuickTests
{
    [Theory]
    [InlineData(new[] { 20 }, 1)]
    [InlineData(new[] { 5000, 2000, 20, 9 }, 3)]
    [InlineData(new[] { 4000, 4000, 4000, 4000 }, 3)]
    public async Task Repeat_PassesOfThisLength_AreSoMany(int[] milliseconds, int passes)
    {
        var time = new FakeTimeProvider();
        var pass = 0;
        await UntilQuick.Repeat(
            _ =>
            {
                var took = TimeSpan.FromMilliseconds(milliseconds[pass++]);
                time.Advance(took);
                return Task.FromResult(took);
            },
            quick: TimeSpan.FromMilliseconds(20), bound: TimeSpan.FromSeconds(10), patience: TimeSpan.FromMinutes(1), time, TestContext.Current.CancellationToken);
        Assert.Equal(passes, pass);
    }

    [Fact]
    public async Task Repeat_PassThatDoesNotEnd_IsNotWaitedForAfterThePatience()
    {
        var time = new FakeTimeProvider();
        var bound = TimeSpan.FromSeconds(10);
        var repeated = UntilQuick.Repeat(
            async token =>
            {
                await Task.Delay(Timeout.Infinite, token);
                return TimeSpan.Zero;
            },
            quick: TimeSpan.FromMilliseconds(20), bound, patience: bound, time, TestContext.Current.CancellationToken);
        Assert.False(repeated.IsCompleted);
        time.Advance(bound);
        await repeated.WaitAsync(QemuLab.Patience, TestContext.Current.CancellationToken);
    }
}

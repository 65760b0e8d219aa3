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
            () =>
            {
                time.Advance(TimeSpan.FromMilliseconds(milliseconds[pass++]));
                return Task.CompletedTask;
            },
            quick: TimeSpan.FromMilliseconds(20), bound: TimeSpan.FromSeconds(10), time, TestContext.Current.CancellationToken);
        Assert.Equal(passes, pass);
    }
}

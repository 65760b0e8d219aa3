using Instances.Faults;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Grains.Tests;

public sealed class DrainTests
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);

    private readonly Drain _drain = new();
    private readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task WaitForEnd_WhenNothingRuns_IsOverAtOnce() => Assert.True(await _drain.WaitForEnd(Bound, _time));

    [Fact]
    public async Task WaitForEnd_WhenSomethingRuns_IsOverWhenTheLastHasEnded()
    {
        var (one, other) = (_drain.Begin(), _drain.Begin());
        var end = _drain.WaitForEnd(Bound, _time);

        one.Dispose();
        one.Dispose();
        Assert.False(end.IsCompleted);
        other.Dispose();

        Assert.True(await end);
    }

    [Fact]
    public async Task WaitForEnd_WhenSomethingDoesNotEnd_GivesUpAfterTheBound()
    {
        using var running = _drain.Begin();
        var end = _drain.WaitForEnd(Bound, _time);

        _time.Advance(Bound);

        Assert.False(await end);
    }

    [Fact]
    public async Task Begin_WhileItDrains_IsRefused_AndWhatBeganBeforeGoesOn()
    {
        var accepted = _drain.Begin();
        var end = _drain.WaitForEnd(Bound, _time);

        Assert.Equal(Drain.Code, Assert.Throws<FaultException>(_drain.Begin).Fault.Code);
        var run = _drain.GoOn();
        accepted.Dispose();
        Assert.False(end.IsCompleted);
        run.Dispose();

        Assert.True(await end);
        Assert.True(_drain.IsDraining);
    }
}

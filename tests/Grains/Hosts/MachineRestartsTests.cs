using Instances.Hosts;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

public sealed class MachineRestartsTests : IRestartedHost
{
    private static readonly HostOptions Options = new() { MaxRestarts = 3, RestartWindow = TimeSpan.FromMinutes(10), RestartPause = TimeSpan.FromSeconds(1) };

    private readonly FakeTimeProvider _time = new();
    private readonly MachineRestarts _restarts;
    private readonly Dictionary<VirtualMachineId, int> _starts = [];
    private readonly VirtualMachineId _machine = VirtualMachineId.New();
    private Func<VirtualMachineId, Task<StartOutcome>> _start = _ => Task.FromResult(StartOutcome.Started);
    private bool _isToRun = true;
    private int _underWay;
    private int _mostAtOnce;
    private int _givenUp;

    public MachineRestartsTests() => _restarts = new(this, Microsoft.Extensions.Options.Options.Create(Options), _time);

    [Fact]
    public async Task Begin_OfAllMachinesOfAHost_StartsEightAtATime()
    {
        var gate = new TaskCompletionSource();
        _start = async _ =>
        {
            await gate.Task;
            return StartOutcome.Started;
        };
        for (var machine = 0; machine < 100; machine++) Assert.True(_restarts.Begin(VirtualMachineId.New(), CancellationToken.None));
        Pass(TimeSpan.FromSeconds(1));
        Assert.Equal(FanOut.PerHost, _underWay);

        gate.SetResult();
        await _restarts.Ended();

        Assert.Equal((100, FanOut.PerHost), (_starts.Values.Sum(), _mostAtOnce));
    }

    [Fact]
    public void Begin_OfAMachineWhoseStartsTimeOut_TriesOnAndNeverGivesUp()
    {
        _start = _ => Task.FromResult(_starts[_machine] <= 20 ? StartOutcome.TimedOut : StartOutcome.Started);
        _restarts.Begin(_machine, CancellationToken.None);

        for (var minute = 0; minute < 60; minute++) Pass(TimeSpan.FromMinutes(1));

        Assert.Equal((21, 0), (_starts[_machine], _givenUp));
        Assert.Null(_restarts.GivenUp(_machine));
    }

    [Fact]
    public void Begin_OfAMachineThatFailsEachTime_GivesUpAtTheBound()
    {
        _start = _ => Task.FromResult(StartOutcome.Failed);
        _restarts.Begin(_machine, CancellationToken.None);
        Assert.False(_restarts.Begin(_machine, CancellationToken.None));

        foreach (var pause in (int[])[1, 4, 16]) Pass(TimeSpan.FromSeconds(pause));

        Assert.Equal((Options.MaxRestarts, 1), (_starts[_machine], _givenUp));
        Assert.Contains("not restarted", _restarts.GivenUp(_machine), StringComparison.Ordinal);
        _restarts.Forget(_machine);
        Assert.Null(_restarts.GivenUp(_machine));
    }

    [Fact]
    public void Begin_AfterTheWindow_CountsOldDeathsNoMore()
    {
        for (var death = 0; death < 10; death++)
        {
            Assert.True(_restarts.Begin(_machine, CancellationToken.None));
            Pass(TimeSpan.FromSeconds(16));
            Pass(Options.RestartWindow / Options.MaxRestarts);
        }

        Assert.Equal((10, 0), (_starts[_machine], _givenUp));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Begin_OfAMachineThatIsNotToRunAfterThePause_DoesNotStartIt(bool isForgotten)
    {
        _restarts.Begin(_machine, CancellationToken.None);
        if (isForgotten) _restarts.Forget(_machine);
        else _isToRun = false;

        Pass(TimeSpan.FromMinutes(1));

        Assert.Empty(_starts);
    }

    Task<bool> IRestartedHost.IsToRun(VirtualMachineId machine) => Task.FromResult(_isToRun);

    async Task<StartOutcome> IRestartedHost.Start(VirtualMachineId machine)
    {
        _starts[machine] = _starts.GetValueOrDefault(machine) + 1;
        _mostAtOnce = Math.Max(_mostAtOnce, ++_underWay);
        var outcome = await _start(machine);
        _underWay--;
        return outcome;
    }

    Task IRestartedHost.GiveUp(VirtualMachineId machine, int starts)
    {
        _givenUp++;
        return Task.CompletedTask;
    }

    private void Pass(TimeSpan time) => _time.Advance(time);
}

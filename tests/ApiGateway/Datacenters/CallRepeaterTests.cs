using Instances.Appliances;
using Instances.Faults;
using Instances.Requests;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Orleans.Runtime;
using Xunit;

namespace Instances.Datacenters;

public sealed class CallRepeaterTests
{
    private readonly FakeTimeProvider _time = new() { AutoAdvanceAmount = TimeSpan.FromMilliseconds(10) };

    [Fact]
    public async Task Call_ThatDidNotGetThrough_IsRepeatedUntilItDoes()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Deploy), new SiloUnavailableException("gone"), failures: 2);

        await Invoke(call);

        Assert.Equal(3, call.Attempts);
    }

    [Fact]
    public async Task Call_ThatNeverGetsThrough_IsGivenUp()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Get), new TimeoutException("9 s"), failures: int.MaxValue);

        await Assert.ThrowsAsync<TimeoutException>(() => Invoke(call));

        Assert.Equal(CallRepeater.MaxAttempts, call.Attempts);
    }

    [Fact]
    public async Task Refusal_OfAGrain_IsItsAnswer()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Deploy), FaultException.Unavailable("state-unavailable", "The database is away."), failures: int.MaxValue);

        await Assert.ThrowsAsync<FaultException>(() => Invoke(call));

        Assert.Equal(1, call.Attempts);
    }

    [Theory, InlineData(false, 1), InlineData(true, CallRepeater.MaxAttempts)]
    public async Task PowerAction_IsRepeatedOnlyIfItsRequestHasAnId(bool hasId, int attempts)
    {
        var call = new OutgoingCall(typeof(IVirtualMachineGrain), nameof(IVirtualMachineGrain.Power), new TimeoutException("9 s"), failures: int.MaxValue)
        {
            Arguments = [PowerAction.Reset, hasId ? RequestId.New() : null],
        };

        await Assert.ThrowsAsync<TimeoutException>(() => Invoke(call));

        Assert.Equal(attempts, call.Attempts);
    }

    private async Task Invoke(OutgoingCall call)
    {
        var invoked = new CallRepeater(_time, NullLogger<CallRepeater>.Instance).Invoke(call);
        while (!invoked.IsCompleted)
        {
            _time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
        }

        await invoked;
    }
}

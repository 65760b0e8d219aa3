using System.Reflection;
using Instances.Appliances;
using Instances.Faults;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;
using Xunit;

namespace Instances.Datacenters;

public sealed class CallRepeaterTests
{
    private readonly FakeTimeProvider _time = new() { AutoAdvanceAmount = TimeSpan.FromMilliseconds(10) };

    [Fact]
    public async Task Call_ThatDidNotGetThrough_IsRepeatedUntilItDoes()
    {
        var call = new Call(typeof(IApplianceGrain), nameof(IApplianceGrain.Deploy), new SiloUnavailableException("gone"), failures: 2);

        await Invoke(call);

        Assert.Equal(3, call.Attempts);
    }

    [Fact]
    public async Task Call_ThatNeverGetsThrough_IsGivenUp()
    {
        var call = new Call(typeof(IApplianceGrain), nameof(IApplianceGrain.Get), new TimeoutException("9 s"), failures: int.MaxValue);

        await Assert.ThrowsAsync<TimeoutException>(() => Invoke(call));

        Assert.Equal(CallRepeater.MaxAttempts, call.Attempts);
    }

    [Fact]
    public async Task Refusal_OfAGrain_IsItsAnswer()
    {
        var call = new Call(typeof(IApplianceGrain), nameof(IApplianceGrain.Deploy), FaultException.Unavailable("state-unavailable", "The database is away."), failures: int.MaxValue);

        await Assert.ThrowsAsync<FaultException>(() => Invoke(call));

        Assert.Equal(1, call.Attempts);
    }

    [Fact]
    public async Task PowerAction_IsNeverRepeated()
    {
        var call = new Call(typeof(IVirtualMachineGrain), nameof(IVirtualMachineGrain.Power), new TimeoutException("9 s"), failures: int.MaxValue);

        await Assert.ThrowsAsync<TimeoutException>(() => Invoke(call));

        Assert.Equal(1, call.Attempts);
    }

    private async Task Invoke(Call call)
    {
        var invoked = new CallRepeater(_time, NullLogger<CallRepeater>.Instance).Invoke(call);
        while (!invoked.IsCompleted)
        {
            _time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
        }

        await invoked;
    }

    /// <summary>An outgoing call that fails for a while.</summary>
    private sealed class Call(Type type, string method, Exception failure, int failures) : IOutgoingGrainCallContext
    {
        public int Attempts { get; private set; }

        public MethodInfo InterfaceMethod { get; } = type.GetMethod(method)!;

        public string InterfaceName => type.Name;

        public string MethodName => method;

        public IInvokable Request => throw new NotSupportedException();

        public object Grain => throw new NotSupportedException();

        public object? Result { get; set; }

        public Response? Response { get; set; }

        public GrainId? SourceId => null;

        public GrainId TargetId => default;

        public GrainInterfaceType InterfaceType => default;

        public IGrainContext? SourceContext => null;

        public Task Invoke() => ++Attempts <= failures ? Task.FromException(failure) : Task.CompletedTask;
    }
}

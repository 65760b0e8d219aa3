using Instances.Appliances;
using Instances.Faults;
using Xunit;

namespace Instances.Datacenters;

public sealed class LostCallFilterTests
{
    [Fact]
    public async Task Call_ThatIsCancelledByNobody_IsLost()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Get), new OperationCanceledException(), failures: 1);

        var lost = await Assert.ThrowsAsync<TimeoutException>(() => new LostCallFilter().Invoke(call));

        Assert.Contains(nameof(IApplianceGrain.Get), lost.Message, StringComparison.Ordinal);
        Assert.IsType<OperationCanceledException>(lost.InnerException);
    }

    [Fact]
    public async Task Call_ThatItsCallerCancels_IsCancelled()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Get), new OperationCanceledException(), failures: 1, new(canceled: true));

        await Assert.ThrowsAsync<OperationCanceledException>(() => new LostCallFilter().Invoke(call));
    }

    [Fact]
    public async Task Call_ThatIsAnswered_IsLeftAlone()
    {
        var call = new OutgoingCall(typeof(IApplianceGrain), nameof(IApplianceGrain.Get), new OperationCanceledException(), failures: 0);

        await new LostCallFilter().Invoke(call);

        Assert.Equal(1, call.Attempts);
    }
}

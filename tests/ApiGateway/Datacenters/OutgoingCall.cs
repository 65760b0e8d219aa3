using System.Reflection;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;

namespace Instances.Datacenters;

/// <summary>An outgoing call that fails for a while.</summary>
/// <param name="cancellation">The caller's own.</param>
internal sealed class OutgoingCall(Type type, string method, Exception failure, int failures, CancellationToken cancellation = default) : IOutgoingGrainCallContext
{
    public int Attempts { get; private set; }

    public MethodInfo InterfaceMethod { get; } = type.GetMethod(method)!;

    public string InterfaceName => type.Name;

    public string MethodName => method;

    public IInvokable Request { get; } = CancellableRequest.Of(cancellation);

    public object Grain => throw new NotSupportedException();

    public object? Result { get; set; }

    public Response? Response { get; set; }

    public GrainId? SourceId => null;

    public GrainId TargetId { get; } = GrainId.Create("grain", "one");

    public GrainInterfaceType InterfaceType => default;

    public IGrainContext? SourceContext => null;

    public Task Invoke() => ++Attempts <= failures ? Task.FromException(failure) : Task.CompletedTask;
}

/// <summary>A request that has nothing but the cancellation of its caller.</summary>
internal class CancellableRequest : DispatchProxy
{
    private CancellationToken _cancellation;

    public static IInvokable Of(CancellationToken cancellation)
    {
        var request = Create<IInvokable, CancellableRequest>();
        ((CancellableRequest)request)._cancellation = cancellation;
        return request;
    }

    protected override object Invoke(MethodInfo? targetMethod, object?[]? args) => targetMethod!.Name == nameof(IInvokable.GetCancellationToken) ? _cancellation : throw new NotSupportedException();
}

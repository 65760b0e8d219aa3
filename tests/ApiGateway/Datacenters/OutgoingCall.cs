using System.Reflection;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;

namespace Instances.Datacenters;

/// <summary>An outgoing call that fails a number of times.</summary>
/// <param name="cancellation">The caller's own.</param>
internal sealed class OutgoingCall(Type type, string method, Exception failure, int failures, CancellationToken cancellation = default) : IOutgoingGrainCallContext
{
    public int Attempts { get; private set; }

    public MethodInfo InterfaceMethod { get; } = type.GetMethod(method)!;

    public string InterfaceName => type.Name;

    public string MethodName => method;

    public object?[] Arguments { get; init; } = [];

    public IInvokable Request => CancellableRequest.Of(cancellation, Arguments);

    public object Grain => throw new NotSupportedException();

    public object? Result { get; set; }

    public Response? Response { get; set; }

    public GrainId? SourceId => null;

    public GrainId TargetId { get; } = GrainId.Create("grain", "one");

    public GrainInterfaceType InterfaceType => default;

    public IGrainContext? SourceContext => null;

    public Task Invoke() => ++Attempts <= failures ? Task.FromException(failure) : Task.CompletedTask;
}

/// <summary>A request with its arguments and the caller's cancellation.</summary>
internal class CancellableRequest : DispatchProxy
{
    private CancellationToken _cancellation;
    private object?[] _arguments = [];

    public static IInvokable Of(CancellationToken cancellation, object?[] arguments)
    {
        var request = Create<IInvokable, CancellableRequest>();
        (((CancellableRequest)request)._cancellation, ((CancellableRequest)request)._arguments) = (cancellation, arguments);
        return request;
    }

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) => targetMethod!.Name switch
    {
        nameof(IInvokable.GetCancellationToken) => _cancellation,
        nameof(IInvokable.GetArgument) => _arguments[(int)args![0]!],
        _ => throw new NotSupportedException(),
    };
}

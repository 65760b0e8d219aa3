namespace Instances.Faults;

/// <summary>The only exception, besides cancellation, that crosses a grain call.</summary>
[GenerateSerializer, Alias("instances.FaultException")]
public sealed class FaultException(Fault fault, Exception? cause = null) : Exception(fault.Message, cause)
{
    [Id(0)]
    public Fault Fault { get; } = fault;

    public static FaultException NotFound(string code, string message) => new(new(FaultKind.NotFound, code, message));

    public static FaultException Conflict(string code, string message) => new(new(FaultKind.Conflict, code, message));

    public static FaultException Invalid(string code, string message) => new(new(FaultKind.Invalid, code, message));

    public static FaultException Capacity(string code, string message) => new(new(FaultKind.Capacity, code, message));

    public static FaultException Unavailable(string code, string message, Exception? cause = null) =>
        new(new(FaultKind.Unavailable, code, message), cause);
}

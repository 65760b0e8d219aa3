using Instances.Faults;

namespace Instances;

/// <summary>The decision of a lifecycle about a command: accepted, ignored, or refused.</summary>
internal abstract record Decision<TStatus>
    where TStatus : struct, Enum
{
    private Decision()
    {
    }

    /// <summary>The command is carried out. The status changes when it begins.</summary>
    public sealed record Accept(TStatus Next) : Decision<TStatus>;

    /// <summary>The status is already what the command requests.</summary>
    public sealed record Ignore : Decision<TStatus>;

    /// <summary>The status does not allow it.</summary>
    public sealed record Refuse(Fault Fault) : Decision<TStatus>;
}

/// <summary>Short forms, so that a lifecycle reads as a table.</summary>
internal static class Decide<TStatus>
    where TStatus : struct, Enum
{
    public static Decision<TStatus> Ignore { get; } = new Decision<TStatus>.Ignore();

    public static Decision<TStatus> Accept(TStatus next) => new Decision<TStatus>.Accept(next);

    public static Decision<TStatus> Refuse(string code, string message) =>
        new Decision<TStatus>.Refuse(new(FaultKind.Conflict, code, message));

    /// <summary>A call that this product must never make: a defect, not a user's mistake.</summary>
    public static Decision<TStatus> Defect(TStatus status, string command) =>
        new Decision<TStatus>.Refuse(new(FaultKind.Internal, "lifecycle-defect", $"'{command}' cannot happen in the status '{status}'."));
}

internal static class DecisionExtensions
{
    /// <summary>The next status, or null if there is nothing to do.</summary>
    /// <exception cref="FaultException">The command was refused.</exception>
    public static TStatus? OrThrow<TStatus>(this Decision<TStatus> decision)
        where TStatus : struct, Enum => decision switch
        {
            Decision<TStatus>.Accept accept => accept.Next,
            Decision<TStatus>.Ignore => null,
            Decision<TStatus>.Refuse refuse => throw new FaultException(refuse.Fault),
            _ => throw new System.Diagnostics.UnreachableException(),
        };
}

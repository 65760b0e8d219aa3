using System.Text.Json.Serialization;

namespace Instances.Faults;

/// <summary>Why a request was not carried out. The kind decides the HTTP status and whether to repeat the request.</summary>
public enum FaultKind
{
    /// <summary>What was named does not exist. HTTP 404.</summary>
    NotFound,

    /// <summary>The present status does not allow it. HTTP 409. Repeat once the status has changed.</summary>
    Conflict,

    /// <summary>The request can never succeed as it is. HTTP 422.</summary>
    Invalid,

    /// <summary>The caller may not do this. HTTP 403.</summary>
    Forbidden,

    /// <summary>There is not enough memory, CPU, disk or quota. HTTP 507.</summary>
    Capacity,

    /// <summary>A part that the request needs is unreachable at the moment. HTTP 503. Repeat later.</summary>
    Unavailable,

    /// <summary>A defect of this product. HTTP 500.</summary>
    Internal,

    /// <summary>The resource has changed since the client read it. HTTP 412. Read it again, and decide again.</summary>
    Changed,
}

/// <summary>A refusal or a failure, for users and for programs.</summary>
/// <param name="Kind">The class of the fault.</param>
/// <param name="Code">A stable word in kebab case, such as <c>appliance-not-deployed</c>.</param>
/// <param name="Message">One or two sentences: what was found, and what to do.</param>
[GenerateSerializer, Immutable, Alias("instances.Fault")]
public sealed record Fault(
    [property: Id(0)] FaultKind Kind,
    [property: Id(1)] string Code,
    [property: Id(2)] string Message)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

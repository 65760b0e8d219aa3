using System.Text.Json.Serialization;
using Instances.Faults;

namespace Instances.Requests;

/// <summary>The record of one request with an Idempotency-Key. It lets one attempt run at a time, and gives every repeat the first answer.</summary>
/// <remarks>
/// <para>A gateway makes an attempt: <see cref="Begin"/>, then the work, then <see cref="Answer"/> or <see cref="Release"/>. While it works, it calls <see cref="Touch"/>.
/// An attempt that has not called it for <see cref="Lease"/> counts as dead, and the next one takes over.</para>
/// <para>Two attempts can work at the same time: a frozen gateway continues, or the record loses its silo. The ids of the resources that a request creates are derived from its key, so that both attempts create the same resource.
/// The attempts of an upload have ids of their own: see <see cref="RequestTurn.Number"/>.</para>
/// </remarks>
[Alias("instances.IRequestGrain")]
public interface IRequestGrain : IGrainWithGuidKey
{
    /// <summary>How long an attempt may be silent.</summary>
    static readonly TimeSpan Lease = TimeSpan.FromSeconds(10);

    /// <summary>Asks to make an attempt. Idempotent by attempt.</summary>
    /// <param name="fingerprint">Equal for equal requests.</param>
    /// <param name="isUpload">The request has a body that is not kept. Its attempts are numbered durably.</param>
    [Alias("Begin")]
    Task<RequestTurn> Begin(string fingerprint, Guid attempt, bool isUpload);

    /// <summary>The attempt is alive; for an upload: bytes have moved since the last call.</summary>
    /// <returns>False if another attempt has taken over: stop.</returns>
    [Alias("Touch")]
    Task<bool> Touch(Guid attempt);

    /// <summary>Records the answer durably. Idempotent: the first answer stands.</summary>
    /// <returns>The answer to give; null if another attempt of an upload has taken over: ask again with <see cref="Begin"/>.</returns>
    [Alias("Answer")]
    Task<RequestAnswer?> Answer(Guid attempt, string fingerprint, RequestAnswer answer);

    /// <summary>The attempt ended without an answer to keep: the next one may begin at once. Idempotent.</summary>
    [Alias("Release")]
    Task Release(Guid attempt);

    /// <summary>Called by the pruning: deletes the record if it is older than a moment. Idempotent.</summary>
    [Alias("Expire")]
    Task Expire(DateTimeOffset before);
}

public enum RequestTurnKind
{
    /// <summary>Do the work.</summary>
    Run,

    /// <summary>Another attempt works on an equal request: ask again soon.</summary>
    Wait,

    /// <summary>The request was answered before: give that answer.</summary>
    Answered,

    /// <summary>The key was sent with another request: idempotency-key-reused.</summary>
    Reused,
}

/// <param name="Number">Run: how many attempts this upload has had, this one included; 1 for other requests. The attempts with lower numbers must be ended first.</param>
/// <param name="Answer">Answered: the first answer.</param>
[GenerateSerializer, Immutable, Alias("instances.RequestTurn")]
public sealed record RequestTurn([property: Id(0)] RequestTurnKind Kind, [property: Id(1)] int Number = 0, [property: Id(2)] RequestAnswer? Answer = null);

/// <summary>A recorded HTTP answer.</summary>
/// <param name="Body">UTF-8 text.</param>
/// <param name="RequestSha256">For a complete upload: the SHA-256 of its bytes in hex; else null.</param>
/// <param name="RequestBytes">For a complete upload: the number of its bytes. Null also for an answer that an earlier release recorded.</param>
[GenerateSerializer, Immutable, Alias("instances.RequestAnswer")]
public sealed record RequestAnswer(
    [property: Id(0)] int Status,
    [property: Id(1)] IReadOnlyDictionary<string, string> Headers,
    [property: Id(2)] string Body,
    [property: Id(3)] string? RequestSha256 = null,
    [property: Id(4)] long? RequestBytes = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

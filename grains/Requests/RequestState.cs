using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Requests;

/// <summary>Stored when an upload begins, and when a request is answered.</summary>
internal sealed record RequestState : IStoredState
{
    public int Schema { get; init; } = 1;

    public string Fingerprint { get; init; } = "";

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Of an upload: how many attempts were begun.</summary>
    public int Attempts { get; init; }

    /// <summary>Of an upload: the newest attempt.</summary>
    public Guid? Attempt { get; init; }

    public RequestAnswer? Answer { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>Listed only for the pruning.</summary>
    public RequestState WithCatalogue(RequestId id) => this with
    {
        Catalogue = new(
            CatalogueEntry.Request, id.Value, Name: null, Answer is null ? "running" : "answered", Owner: null, Image: null, Machine: null, CreatedAt, Layers: [],
            JsonSerializer.SerializeToElement(new { id }, InstancesJson.Options)),
    };
}

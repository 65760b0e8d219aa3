using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Operations;

internal sealed record OperationState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public OperationStart? Start { get; init; }

    /// <summary>How it ended; null while it runs. Progress in between is not durable.</summary>
    public OperationOutcome? Outcome { get; init; }

    /// <summary>The version of the view when the operation began or ended; 0 in states of earlier releases.</summary>
    public long Version { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    public OperationState WithCatalogue(OperationView view) => this with
    {
        Catalogue = new(
            CatalogueEntry.Operation, view.Id.Value, Name: null, JsonNamingPolicy.CamelCase.ConvertName(view.Status.ToString()), Owner: view.Appliance?.Value,
            Image: view.Image?.Value, Machine: null, view.StartedAt, Layers: [], JsonSerializer.SerializeToElement(view, InstancesJson.Options))
        {
            Unknown = Catalogue?.Unknown,
        },
    };
}

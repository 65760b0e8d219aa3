using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Enterprises;

internal sealed record EnterpriseState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public string Name { get; init; } = "";

    public EnterpriseQuotas Quotas { get; init; } = EnterpriseQuotas.None;

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Incremented by each change.</summary>
    public long Version { get; init; } = 1;

    public CatalogueEntry? Catalogue { get; init; }

    public EnterpriseView ToView(EnterpriseId id) => new(id, Name, Quotas, Version, CreatedAt);

    public EnterpriseState WithCatalogue(EnterpriseId id) => this with
    {
        Catalogue = new(
            CatalogueEntry.EnterpriseKind, id.Value, Name, Status: "active", Owner: null, Image: null, Machine: null, CreatedAt, Layers: [],
            JsonSerializer.SerializeToElement(ToView(id), InstancesJson.Options))
        {
            Unknown = Catalogue?.Unknown,
        },
    };
}

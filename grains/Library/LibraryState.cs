using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Library;

internal sealed record LibraryState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public CatalogueEntry? Catalogue => null;

    /// <summary>Null until a folder was bound to this database.</summary>
    public LibraryBinding? Binding { get; init; }

    /// <summary>The running rebuild, or the last one.</summary>
    public LibraryRebuild? Rebuild { get; init; }

    /// <summary>The space that sweeps have freed.</summary>
    public FreedSpace Collected { get; init; } = new(Since: null, Layers: 0, Bytes: 0);
}

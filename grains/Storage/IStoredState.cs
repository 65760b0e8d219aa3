using Instances.Catalogue;

namespace Instances.Storage;

/// <summary>A grain's durable state: an immutable record, written whole as JSON.</summary>
internal interface IStoredState
{
    /// <summary>The version of the JSON form, so that a later release can read an older one.</summary>
    int Schema { get; }

    /// <summary>What the catalogue shows of it; null if it is not listed.</summary>
    CatalogueEntry? Catalogue { get; }
}

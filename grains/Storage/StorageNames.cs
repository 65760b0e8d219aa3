namespace Instances.Storage;

internal static class StorageNames
{
    /// <summary>The storage provider of every grain. What a state is called in it is each grain's own: rows are keyed by that name, not by the grain's class.</summary>
    public const string Grains = "instances";
}

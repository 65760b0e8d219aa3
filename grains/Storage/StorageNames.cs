namespace Instances.Storage;

internal static class StorageNames
{
    /// <summary>The storage provider of every grain. Each grain chooses the name of its state: rows are keyed by that name, not by the grain's class.</summary>
    public const string Grains = "instances";
}

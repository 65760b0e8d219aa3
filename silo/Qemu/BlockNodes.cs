using System.Text.Json.Nodes;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The nodes of QEMU's block graph. Every layer is two nodes with names made from its id, so that the graph shows which layer is the top.</summary>
/// <remarks>Parents are given as nodes, and a base has none. So QEMU never follows a file name in an image's header.</remarks>
internal static class BlockNodes
{
    // QEMU has no error class for these two errors. Their texts have been the same since 2.x.
    public const string IsThere = "Duplicate nodes with node-name=";
    public const string IsNotThere = "Failed to find node with node-name=";

    // 62 random bits: more than one graph needs. QEMU reads commands byte by byte, so that the length of the names is a large part of the cost of
    // a switch.
    private const int IdDigits = 16;
    private const long ClusterBytes = 64 << 10;
    private const long TableEntryBytes = 16;
    private const long DefaultCacheReachesTo = 128L << 30;
    private const long MaxCacheBytes = 256L << 20;

    public static string Format(LayerId layer) => "L" + Digits(layer);

    public static string File(LayerId layer) => "F" + Digits(layer);

    /// <summary>The nodes of a whole chain, parents first.</summary>
    public static IEnumerable<JsonObject> Chain(DiskChain chain, Func<LayerId, string> pathOf)
    {
        LayerId? parent = null;
        foreach (var layer in chain.Layers)
        {
            var isTop = layer == chain.Layers[^1];
            yield return FileNode(layer, pathOf(layer), isTop);
            yield return FormatNode(layer, parent, isTop, chain.VirtualSizeBytes);
            parent = layer;
        }
    }

    /// <summary>The nodes of a layer that will become the top of a running machine's chain. It gets its parent when it does.</summary>
    public static IEnumerable<JsonObject> Next(LayerId layer, string path, long virtualSizeBytes) =>
        [FileNode(layer, path, isTop: true), FormatNode(layer, parent: null, isTop: true, virtualSizeBytes)];

    /// <summary>The nodes of a layer that will be below the top of a running machine's chain.</summary>
    public static IEnumerable<JsonObject> Parent(LayerId layer, LayerId? parent, string path, long virtualSizeBytes) =>
        [FileNode(layer, path, isTop: false), FormatNode(layer, parent, isTop: false, virtualSizeBytes)];

    /// <summary>The top's node over its parent in the chain, with all options, as QEMU requires them to reopen it.</summary>
    public static JsonObject Top(DiskChain chain) => FormatNode(chain.Layers[^1], chain.Layers[^2], isTop: true, chain.VirtualSizeBytes);

    private static JsonObject FileNode(LayerId layer, string path, bool isTop)
    {
        var node = new JsonObject { ["driver"] = "file", ["node-name"] = File(layer), ["filename"] = Path.GetFullPath(path) };
        // When a top becomes a parent, auto-read-only lets QEMU close its writable descriptor.
        node[isTop ? "auto-read-only" : "read-only"] = true;
        if (isTop) node["discard"] = "unmap";
        return node;
    }

    private static JsonObject FormatNode(LayerId layer, LayerId? parent, bool isTop, long virtualSizeBytes)
    {
        var node = new JsonObject
        {
            ["driver"] = "qcow2",
            ["node-name"] = Format(layer),
            ["file"] = File(layer),
            ["backing"] = parent is { } id ? Format(id) : null,
            ["read-only"] = !isTop,
        };
        if (isTop) (node["discard"], node["detect-zeroes"]) = ("unmap", "unmap");
        // QEMU's default cache holds the tables of only 128 GiB, because an entry with subclusters takes 16 bytes.
        if (virtualSizeBytes > DefaultCacheReachesTo) node["l2-cache-size"] = Math.Min(virtualSizeBytes / ClusterBytes * TableEntryBytes, MaxCacheBytes);
        return node;
    }

    private static string Digits(LayerId layer) => layer.Value.ToString("N")[^IdDigits..];
}

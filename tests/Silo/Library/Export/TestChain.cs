using System.Globalization;
using Instances.VirtualMachines;

namespace Instances.Library.Export;

/// <summary>A chain of real layers, made as the product makes them, with what qemu-io writes to each.</summary>
internal sealed class TestChain(FolderLibraryStore store)
{
    private readonly List<LayerId> _layers = [];

    public long VirtualSizeBytes { get; private set; }

    public DiskChain Disk => new([.. _layers], VirtualSizeBytes);

    public string TopPath => store.PathOf(_layers[^1]);

    /// <summary>Puts a layer on top.</summary>
    /// <param name="commands">For qemu-io, such as <c>write -P 1 0 64k</c>.</param>
    public async Task Add(long virtualSizeBytes, params string[] commands)
    {
        var layer = LayerId.New();
        if (_layers.Count == 0) MakeBase(layer, virtualSizeBytes);
        else await store.CreateLayer(layer, _layers[^1], virtualSizeBytes, default);
        _layers.Add(layer);
        VirtualSizeBytes = virtualSizeBytes;
        if (commands.Length > 0) TestLibrary.Run("qemu-io", ["-f", "qcow2", "-d", "unmap", .. commands.SelectMany(command => (string[])["-c", command]), TopPath]);
        await store.Seal(layer);
    }

    public LayeredDisk Open() => LayeredDisk.Open(Disk, store.PathOf);

    /// <summary>As an image that has this disk.</summary>
    public DiskManifest ToManifest(ImageId image) =>
        new([.. _layers.Select((layer, index) => new LayerManifest(layer, index == 0 ? null : _layers[index - 1], store.BytesOf(layer), image))], VirtualSizeBytes);

    /// <summary>As an import makes it: without subclusters.</summary>
    private void MakeBase(LayerId layer, long virtualSizeBytes) => TestLibrary.QemuImg(
        "create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", store.PathOf(layer), virtualSizeBytes.ToString(CultureInfo.InvariantCulture));
}

using System.Globalization;
using System.Text.Json;
using CliWrap;
using CliWrap.Buffered;
using Instances.Hosts;
using Instances.Library;

namespace Instances.Qemu;

/// <summary>Layers as plain qemu-img makes them: the least that a hypervisor needs of a layer store.</summary>
internal sealed class QemuImgStore(string folder) : ILayerStore
{
    public string PathOf(LayerId layer) => Path.Combine(folder, $"{layer}.qcow2");

    public bool Contains(LayerId layer) => File.Exists(PathOf(layer));

    public async Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        if (Contains(layer)) return;
        string[] over = parent is { } id ? ["-u", "-b", $"{id}.qcow2", "-F", "qcow2"] : [];
        await Cli.Wrap("qemu-img")
            .WithArguments(["create", "-q", "-f", "qcow2", "-o", "cluster_size=64k,extended_l2=on", .. over, PathOf(layer), virtualSizeBytes.ToString(CultureInfo.InvariantCulture)])
            .ExecuteAsync(cancellationToken);
    }

    public Task<long> Seal(LayerId layer) => Task.FromResult(UnixFiles.Seal(PathOf(layer), (uint)new LayerStoreOptions().ReadersGroup));

    public Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken) => throw new NotSupportedException();

    public Task Delete(LayerId layer)
    {
        File.Delete(PathOf(layer));
        return Task.CompletedTask;
    }

    /// <summary>Takes a finished image in as a base layer.</summary>
    /// <returns>The layer and its virtual size.</returns>
    public async Task<(LayerId Layer, long VirtualSizeBytes)> Import(string image, CancellationToken cancellationToken)
    {
        var layer = LayerId.New();
        await Cli.Wrap("cp").WithArguments(["--reflink=auto", image, PathOf(layer)]).ExecuteAsync(cancellationToken);
        await Seal(layer);
        var info = await Cli.Wrap("qemu-img").WithArguments(["info", "--output=json", PathOf(layer)]).ExecuteBufferedAsync(cancellationToken);
        using var document = JsonDocument.Parse(info.StandardOutput);
        return (layer, document.RootElement.GetProperty("virtual-size").GetInt64());
    }

    public IReadOnlyList<StoredLayer> List() => throw new NotSupportedException();

    public string Id => throw new NotSupportedException();

    public void AddUser(HostId host)
    {
    }

    public bool RemoveUser(HostId host) => false;

    public IReadOnlyList<HostId> Users() => [];

    public void Touch(LayerId layer) => throw new NotSupportedException();

    public LayerOffer Offer(LayerId layer) => throw new NotSupportedException();

    public Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer) => throw new NotSupportedException();

    public IReadOnlyList<LayerCheck> Checks() => throw new NotSupportedException();

    public LayerCheck? FindCheck(LayerId layer) => throw new NotSupportedException();

    public Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken) => throw new NotSupportedException();

    public void Doubt(LayerId layer, string sha256) => throw new NotSupportedException();

    public Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken) => throw new NotSupportedException();

    public long CacheBytes => throw new NotSupportedException();

    public long FreeBytes => throw new NotSupportedException();
}

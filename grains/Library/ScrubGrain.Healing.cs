using System.Data.Common;
using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Logging;

namespace Instances.Library;

/// <summary>Replaces corrupt layers by good copies of a host or, if no host has one, of another datacenter.</summary>
internal sealed partial class ScrubGrain
{
    /// <summary>How long another datacenter is not asked again for a layer after it sent a wrong copy, because each attempt transfers the whole layer. A verification on request ends the pause.</summary>
    private static readonly TimeSpan WrongCopyPause = TimeSpan.FromHours(24);

    /// <summary>How many wrong copies are remembered. Above it, all are forgotten.</summary>
    private const int MaxWrongCopies = 1000;

    /// <summary>A layer's file is only a little longer than its disk: its tables take less than a thirty-second of it, plus this.</summary>
    private const long TableBytes = 64L << 20;

    /// <summary>How long a datacenter that was unreachable or too slow is not asked again.</summary>
    private static readonly TimeSpan AwayPause = LookPeriod / 2;

    private readonly Dictionary<(Uri Peer, LayerId Layer), DateTimeOffset> _wrongCopies = [];
    private readonly Dictionary<Uri, DateTimeOffset> _away = [];

    /// <summary>The layers that are being replaced, each with the source of its copy.</summary>
    private readonly Dictionary<LayerId, string> _healing = [];

    private IGrainTimer? _peerTimer;

    /// <summary>Notifies the images first, so that no known corrupt layer is deployed.</summary>
    private async Task Heal(IReadOnlyList<LayerId> corrupt, CancellationToken cancellationToken)
    {
        foreach (var layer in corrupt)
        {
            await Judge(await catalogue.ImagesOn(layer));
            await TellHosts(layer);
            if (await HealFromAHost(layer, cancellationToken)) await Healed(layer);
            else _peerTimer!.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>A copy from another datacenter may take long: reading, and repairs from hosts, continue in parallel.</summary>
    private async Task HealFromPeers(CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _end.Token);
        try
        {
            foreach (var layer in await CorruptLayers())
            {
                if (layers.FindCheck(layer) is { IsCorrupt: true } && await HealFromAPeer(layer, end.Token)) await Healed(layer);
            }
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException or DbException)
        {
            LogNotScrubbed(exception.Message);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            // The silo ends: another one continues.
        }
    }

    /// <summary>Notifies the hosts first, so that they doubt their copies before a machine is deployed on one.</summary>
    private async Task Healed(LayerId layer)
    {
        await TellHosts(layer);
        await Judge(await catalogue.ImagesOn(layer));
    }

    /// <summary>The copies of hosts may be the same file, or come from it. An unreachable host asks when it is back.</summary>
    private async Task TellHosts(LayerId layer)
    {
        if (layers.FindCheck(layer)?.Sha256 is not { } sha256) return;
        var hosts = (await GrainFactory.Datacenter().Hosts()).Where(host => host.Status is not HostStatus.Away);
        await FanOut.Each(hosts, async host =>
        {
            try
            {
                await GrainFactory.Host(host.Id).Doubt(layer, sha256);
            }
            catch (Exception exception)
            {
                // Exceptions of any type: a host of an older release does not know this call.
                LogNotTold(host.Id.Name, layer.Value, exception.Message);
            }
        });
    }

    private async Task<bool> HealFromAHost(LayerId layer, CancellationToken cancellationToken)
    {
        foreach (var host in (await GrainFactory.Datacenter().Hosts()).Where(host => host.Status is not HostStatus.Away))
        {
            try
            {
                if (!await Heal(layer, host.Id.Name, async () => (await GrainFactory.Host(host.Id).Offer([layer]))[0], cancellationToken)) continue;
                LogHealed(layer.Value, "host", host.Id.Name);
                return true;
            }
            catch (FaultException exception)
            {
                Tell(layer, host.Id.Name, exception.Fault);
            }
        }

        return false;
    }

    private async Task<bool> HealFromAPeer(LayerId layer, CancellationToken cancellationToken)
    {
        foreach (var peer in peers.All.Where(peer => !IsPaused(_away, peer, AwayPause) && !IsPaused(_wrongCopies, (peer, layer), WrongCopyPause)))
        {
            try
            {
                if (await Heal(layer, peer.ToString(), () => Ask(peer, layer, cancellationToken), cancellationToken))
                {
                    LogHealed(layer.Value, "datacenter", peer.ToString());
                    return true;
                }

                if (_wrongCopies.Count >= MaxWrongCopies) _wrongCopies.Clear();
                _wrongCopies[(peer, layer)] = time.GetUtcNow();
                LogWrongCopy(peer, layer.Value);
            }
            catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Unavailable)
            {
                _away[peer] = time.GetUtcNow();
                LogAway(peer, layer.Value, exception.Fault.Message);
            }
            catch (FaultException exception)
            {
                Tell(layer, peer.ToString(), exception.Fault);
            }
        }

        return false;
    }

    /// <exception cref="FaultException">layer-being-healed; and as <see cref="ILibraryStore.Heal"/>.</exception>
    private async Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken)
    {
        if (!_healing.TryAdd(layer, from)) throw FaultException.Conflict("layer-being-healed", "A copy of it is already being fetched.");
        try
        {
            return await layers.Heal(layer, from, offer, cancellationToken);
        }
        finally
        {
            _healing.Remove(layer);
        }
    }

    /// <summary>Most hosts do not have the layer: log only why an existing copy could not be used.</summary>
    private void Tell(LayerId layer, string from, Fault fault)
    {
        if (fault.Kind is FaultKind.NotFound or FaultKind.Conflict) LogNoCopy(layer.Value, from, fault.Message);
        else LogNotTaken(layer.Value, from, fault.Message);
    }

    private bool IsPaused<TKey>(Dictionary<TKey, DateTimeOffset> since, TKey key, TimeSpan pause)
        where TKey : notnull => since.TryGetValue(key, out var at) && time.GetUtcNow() - at < pause;

    /// <summary>Checks that the offer can be this layer, so that the transfer is bounded before its first byte.</summary>
    private async Task<LayerOffer> Ask(Uri peer, LayerId layer, CancellationToken cancellationToken)
    {
        var diskBytes = (await layers.ReadManifests(cancellationToken)).SelectMany(manifest => manifest.Disks)
            .Where(disk => disk.Layers.Any(known => known.Id == layer)).Select(disk => disk.VirtualSizeBytes).DefaultIfEmpty().Max();
        if (diskBytes == 0) throw FaultException.NotFound("layer-not-found", "No image needs it: other datacenters are not asked.");
        var offer = await peers.Offer(peer, layer, cancellationToken);
        return offer.LengthBytes <= diskBytes + (diskBytes >> 5) + TableBytes
            ? offer
            : throw FaultException.Conflict("peer-has-none", $"Its file has {offer.LengthBytes} bytes, and the disk only {diskBytes}: it is another layer.");
    }

    private static LayerHealing? LastHealing(IReadOnlyList<LayerCheck> checks) => checks.Where(check => check.HealedAt is not null).MaxBy(check => check.HealedAt) is { } last
        ? new(last.Layer, last.HealedFrom ?? "", last.HealedAt!.Value)
        : null;

    [LoggerMessage(Level = LogLevel.Warning, Message = "The corrupt layer {Layer} was replaced by the copy of the {Kind} {From}.")]
    private partial void LogHealed(Guid layer, string kind, string from);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The host {Host} could not be notified that its copy of the layer {Layer} may be corrupt; the host will ask: {Reason}")]
    private partial void LogNotTold(string host, Guid layer, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "{From} has no good copy of the corrupt layer {Layer}: {Reason}")]
    private partial void LogNoCopy(Guid layer, string from, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The copy of the corrupt layer {Layer} that {From} may have could not be used and will be retried: {Reason}")]
    private partial void LogNotTaken(Guid layer, string from, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The datacenter {Peer} has another content under the id of the corrupt layer {Layer}, which was not used. Verify its library.")]
    private partial void LogWrongCopy(Uri peer, Guid layer);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The datacenter {Peer} could not be asked for a copy of the corrupt layer {Layer} and will be asked again: {Reason}")]
    private partial void LogAway(Uri peer, Guid layer, string reason);
}

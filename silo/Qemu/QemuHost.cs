using System.Threading.Channels;
using Instances.Hosts;
using Instances.Library;

namespace Instances.Qemu;

/// <summary>The properties that all machines of a host share.</summary>
/// <param name="MachineType">The newest versioned machine type of this host's QEMU.</param>
/// <param name="PathOf">The absolute path of a layer.</param>
internal sealed record QemuHost(
    QemuOptions Options,
    QemuUsers Users,
    MachineCgroups Groups,
    string Accelerator,
    string? MachineType,
    Func<LayerId, string> PathOf,
    TimeProvider Time,
    ILogger Logger,
    ChannelWriter<MachineObservation> Changes)
{
    public DiskSync Disks { get; init; } = new(UnixFiles.SyncData, Time);

    /// <summary>A token that is cancelled after a bound, or with the caller's token.</summary>
    public CancellationTokenSource Bound(TimeSpan bound, CancellationToken cancellationToken, out CancellationTokenSource timer)
    {
        timer = new CancellationTokenSource(bound, Time);
        return CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
    }
}

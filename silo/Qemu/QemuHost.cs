using System.Threading.Channels;
using Instances.Hosts;
using Instances.Library;

namespace Instances.Qemu;

/// <summary>What all machines of a host share.</summary>
/// <param name="MachineType">The newest versioned machine type of this host's QEMU.</param>
/// <param name="PathOf">Where a layer lies, as an absolute path.</param>
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
    /// <summary>A token that is cancelled after a bound, or when the caller no longer waits.</summary>
    public CancellationTokenSource Bound(TimeSpan bound, CancellationToken cancellationToken, out CancellationTokenSource timer)
    {
        timer = new CancellationTokenSource(bound, Time);
        return CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
    }
}

using System.Threading.Channels;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;

namespace Instances.Qemu;

/// <summary>A blank machine that waits for a test capture, in its own folder beside the machines' folders. The folder is removed with it.</summary>
internal sealed class QemuRehearsal : IAsyncDisposable
{
    private const long DiskBytes = 1L << 20;
    private const long MemoryBytes = 32L << 20;

    private readonly string _folder;

    private QemuRehearsal(string folder, QemuMachine machine)
    {
        _folder = folder;
        Machine = machine;
    }

    public QemuMachine Machine { get; }

    public OperationId Operation { get; } = OperationId.New();

    public static async Task<QemuRehearsal> Prepare(QemuHost host, QemuImg qemuImg, CancellationToken cancellationToken)
    {
        var folder = Path.Combine(host.Options.RunFolder, "rehearsal");
        await Clear(folder, host);
        RunFolder.CreateRoot(folder);
        var (top, next) = (LayerId.New(), LayerId.New());
        await qemuImg.Create(PathOf(top), null, DiskBytes, cancellationToken);
        await qemuImg.Create(PathOf(next), Path.GetFileName(PathOf(top)), DiskBytes, cancellationToken);

        var spec = new MachineSpec(
            VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), "rehearsal", Cpus: 1, MemoryBytes, [new([top], DiskBytes)], [], [], UserData: null);
        var unread = Channel.CreateBounded<MachineObservation>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });
        var stage = host with { Options = host.Options with { RunFolder = folder }, PathOf = PathOf, Changes = unread.Writer, Logger = NullLogger.Instance };
        var rehearsal = new QemuRehearsal(folder, new(stage, spec));
        try
        {
            await rehearsal.Machine.Start(spec, cancellationToken);
            await rehearsal.Machine.AddNextLayers(rehearsal.Operation, [next]);
            return rehearsal;
        }
        catch
        {
            await rehearsal.DisposeAsync();
            throw;
        }

        string PathOf(LayerId layer) => Path.Combine(folder, $"{layer}.qcow2");
    }

    public async ValueTask DisposeAsync()
    {
        await Machine.Remove(Machine.Observation.Deployment);
        await Machine.DisposeAsync();
        UnixFiles.DeleteTree(_folder);
    }

    /// <summary>Removes the remains of a rehearsal during which the silo died.</summary>
    private static async Task Clear(string folder, QemuHost host)
    {
        if (!Directory.Exists(folder)) return;
        foreach (var process in QemuProcess.FindAll(folder).Values)
        {
            process.Kill();
            await process.WaitForEnd(host.Options.StopBound, host.Time, CancellationToken.None);
        }

        UnixFiles.DeleteTree(folder);
    }
}

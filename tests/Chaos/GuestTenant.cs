using System.Collections.Concurrent;
using Instances.Client;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;

namespace Instances.Chaos;

/// <summary>A tenant whose machines are real guests. They count their starts on their disks, which shows what was captured.</summary>
internal sealed class GuestTenant(string name, InstancesClient client, ImageView master, Random random, ChaosReport report) : Tenant(name, client, master, random, report)
{
    /// <summary>The only host that runs real guests.</summary>
    public static readonly HostId Host = new("host-1");

    /// <summary>The lowest count of starts that each image must have.</summary>
    public ConcurrentDictionary<ImageId, int> Boots { get; } = new();

    public override VirtualMachineSpec Spec(string machine, ImageId image) => Guest.Spec(machine, image);

    // As many as this machine can run.
    protected override int Machines => 2;

    protected override async Task Use(IReadOnlyList<VirtualMachineView> machines, CancellationToken end)
    {
        var machine = machines[Random.Next(machines.Count)];
        if (machine.Status is not VirtualMachineStatus.Running) return;
        var before = await Client.ReadBoots(machine.Id, end);
        await Client.Power(machine.Id, PowerAction.Reset, end);
        Report.Count($"guest: reset after {(before == 0 ? "no" : "some")} start");
    }

    protected override async Task<object?> Remember(IReadOnlyList<VirtualMachineView> machines, CancellationToken end)
    {
        var boots = new Dictionary<VirtualMachineId, int>();
        foreach (var machine in machines)
        {
            // A simulated host, where a machine is placed while the real one does not run, keeps nothing on a disk.
            var isReal = machine.Host == Host;
            boots[machine.Id] = isReal ? await Client.ReadBoots(machine.Id, end) : 0;
            Report.Count($"guest: captured on a {(isReal ? "real" : "simulated")} host");
        }

        return boots;
    }

    protected override void Captured(OperationView operation, object? remembered)
    {
        foreach (var instance in operation.Result!.Instances!) Boots[instance.Image] = ((Dictionary<VirtualMachineId, int>)remembered!)[instance.VirtualMachine];
    }
}

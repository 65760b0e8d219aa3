using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Orleans.Concurrency;

namespace Instances.VirtualMachines;

/// <summary>A virtual machine. Its appliance creates, changes, deploys, captures and removes it; users control its power and read its console.</summary>
[Alias("instances.IVirtualMachineGrain")]
public interface IVirtualMachineGrain : IGrainWithGuidKey
{
    /// <summary>Called by the appliance. Idempotent for an equal specification.</summary>
    /// <param name="enterprise">The appliance's: the machine uses its images, and those that others share.</param>
    /// <exception cref="FaultException">virtual-machine-invalid; image-not-found; image-not-ready; virtual-machine-too-small; virtual-machine-exists.</exception>
    [Alias("Create")]
    Task<VirtualMachineView> Create(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec);

    /// <exception cref="FaultException">virtual-machine-not-found.</exception>
    /// <remarks>Interleaves with longer calls: the state is immutable and replaced as a whole, so that a reader sees one version of it.</remarks>
    [Alias("Get"), AlwaysInterleave]
    Task<VirtualMachineView> Get();

    /// <summary>What it was created with, or last changed to, including SSH keys and user data, which views do not show.</summary>
    /// <exception cref="FaultException">virtual-machine-not-found.</exception>
    [Alias("GetSpec"), AlwaysInterleave]
    Task<VirtualMachineSpec> GetSpec();

    /// <summary>Called by the appliance. Allowed when Undeployed.</summary>
    [Alias("Change")]
    Task<VirtualMachineView> Change(VirtualMachineSpec spec);

    /// <summary>Called by the appliance. Allowed when Undeployed. Idempotent.</summary>
    [Alias("Delete")]
    Task Delete();

    /// <summary>Allowed when Running, Paused or Stopped, if the action fits the power state. An action whose result is already reached does nothing. Off is also allowed when Unknown.</summary>
    /// <remarks>The last requested power state becomes the wished status. The host restores it if the machine dies.</remarks>
    /// <param name="request">A repeated call with the same id acts once. Null: each call acts.</param>
    /// <exception cref="FaultException">virtual-machine-not-found; virtual-machine-not-deployed; virtual-machine-busy; power-conflict; host-unavailable; power-uncertain: the host did not confirm
    /// the reset of an earlier call, and the reset may or may not have happened.</exception>
    [Alias("Power"), ResponseTimeout("00:01:00")]
    Task<VirtualMachineView> Power(PowerAction action, RequestId? request = null);

    /// <summary>The end of what the guest printed on its serial console since it was deployed.</summary>
    /// <param name="maxBytes">1 to 65,536.</param>
    /// <exception cref="FaultException">virtual-machine-not-found; virtual-machine-not-deployed.</exception>
    [Alias("ReadConsole")]
    Task<string> ReadConsole(int maxBytes);

    /// <summary>Called by a saga: runs the machine on a host, on new writable layers. Allowed when Undeployed; idempotent by operation.</summary>
    /// <exception cref="FaultException">image-not-ready; virtual-machine-too-small; virtual-machine-deployed; what the host throws.</exception>
    [Alias("Deploy"), ResponseTimeout("00:02:00")]
    Task<VirtualMachineView> Deploy(OperationId operation, HostId host, CancellationToken cancellationToken);

    /// <summary>Called by a saga: removes the machine from its host with all that was not captured. Idempotent.</summary>
    /// <param name="force">Gives the machine up if its host is unreachable, fails, or does not answer within 20 s. The host removes the machine as soon as it can.</param>
    /// <returns>Whether the host has removed it; false if it was given up.</returns>
    /// <exception cref="FaultException">Unless it is forced: host-unavailable; hypervisor-failed.</exception>
    [Alias("Undeploy"), ResponseTimeout("00:02:00")]
    Task<bool> Undeploy(CaptureEnd end, bool force);

    /// <summary>Called by a saga: from here until <see cref="EndCapture"/> or <see cref="Undeploy"/> only this saga acts on the machine.
    /// Allowed when Running, Paused or Stopped; idempotent by operation.</summary>
    /// <param name="next">The next layer of each disk.</param>
    [Alias("BeginCapture")]
    Task<CaptureTarget> BeginCapture(OperationId operation, IReadOnlyList<LayerId> next);

    /// <summary>Called by the machine's host before it merges layers of the machine: from now on the merged layers are referenced.</summary>
    /// <param name="made">All merged layers of the current merge. Layers of an earlier, interrupted merge are no longer referenced.</param>
    /// <returns>False if the machine does not have this deployment on this host, or its status is Unknown.</returns>
    [Alias("BeginMerge")]
    Task<bool> BeginMerge(HostId host, OperationId deployment, IReadOnlyList<LayerId> made);

    /// <summary>Called by the machine's host when the merged layer is durable: rebases the disk with that chain onto it.</summary>
    [Alias("CompleteMerge"), ResponseTimeout("00:01:00")]
    Task<MergeVerdict> CompleteMerge(HostId host, OperationId deployment, LayerMerge merge);

    /// <summary>Called by a saga: ends the capture. The machine continues on the disks that its host reports; it is Unknown if its host does not have it. Idempotent.</summary>
    /// <param name="force">Does not wait for a host that is unreachable, fails, or does not answer within 20 s: the machine is Unknown until its host has released it.</param>
    /// <exception cref="FaultException">Unless it is forced: host-unavailable; hypervisor-failed.</exception>
    [Alias("EndCapture")]
    Task EndCapture(OperationId operation, CaptureEnd end, bool force);

    /// <summary>Called by the appliance: makes the record of a machine that runs on a host and was lost with the database. Idempotent by deployment.</summary>
    /// <param name="ownLayers">The layers of its disks that no image holds.</param>
    /// <exception cref="FaultException">virtual-machine-busy.</exception>
    [Alias("Adopt"), ResponseTimeout("00:02:00")]
    Task Adopt(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec, HostId host, FoundMachine found, IReadOnlyList<LayerId> ownLayers);

    /// <summary>Called by the host after a status change that no call caused, and after the host has restarted.</summary>
    [Alias("Observe")]
    Task<ObserveVerdict> Observe(HostId host, MachineObservation observation);

    /// <summary>Called when a host is unreachable, or has come back without the machine. The machine asks the host, and becomes Unknown if the host does not report it. Idempotent.</summary>
    [Alias("LoseSight")]
    Task LoseSight(HostId host);

    /// <summary>Whether the machine is to be on this host by this deployment.</summary>
    /// <remarks>Interleaves with longer calls: a host asks while the machine waits for it. The state is immutable and replaced as a whole.</remarks>
    [Alias("IsDeployed"), AlwaysInterleave]
    Task<bool> IsDeployed(HostId host, OperationId deployment);
}

/// <summary>What a saga needs to know of a machine that it captures.</summary>
/// <param name="Disks">The disks as they are; the last layer of each is the one to be sealed.</param>
/// <param name="InstanceId">The guest's identity; null from a silo of an earlier release.</param>
[GenerateSerializer, Immutable, Alias("instances.CaptureTarget")]
public sealed record CaptureTarget(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] HostId Host,
    [property: Id(3)] ImageId Image,
    [property: Id(4)] IReadOnlyList<DiskChain> Disks,
    [property: Id(5)] string? InstanceId = null);

/// <summary>How a capture ended for a machine.</summary>
/// <param name="Captured">Whether an image now owns its layers up to the sealed ones.</param>
/// <param name="NewImage">The image that the machine uses from then on, or null to keep the present one.</param>
[GenerateSerializer, Immutable, Alias("instances.CaptureEnd")]
public sealed record CaptureEnd([property: Id(0)] bool Captured, [property: Id(1)] ImageId? NewImage = null)
{
    /// <summary>Nothing was captured: the machine is as it was.</summary>
    public static CaptureEnd None { get; } = new(false);
}

/// <summary>What a host does with a machine that it found.</summary>
public enum ObserveVerdict
{
    Keep,

    /// <summary>The machine does not belong there: the host removes it.</summary>
    Remove,

    /// <summary>It has died and is to run: the host powers it on again, as often as its bound allows.</summary>
    PowerOn,

    /// <summary>It is paused and is to run: the host resumes it at once; or, if a disk error of the host has paused it, when the disk works again.</summary>
    Resume,
}

/// <summary>The result of a merge of a machine's layers.</summary>
public enum MergeVerdict
{
    /// <summary>The machine has the shorter chain.</summary>
    Done,

    /// <summary>An operation is using the machine. The host asks again.</summary>
    Busy,

    /// <summary>No disk has the chain that was merged: a capture has changed it meanwhile.</summary>
    Changed,

    /// <summary>The machine does not have this deployment, or this merge, any more, or its status is Unknown.</summary>
    Gone,
}

using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;
using Orleans.Concurrency;

namespace Instances.Appliances;

/// <summary>A named group of virtual machines that is deployed, captured and undeployed as one.</summary>
[Alias("instances.IApplianceGrain")]
public interface IApplianceGrain : IGrainWithGuidKey
{
    /// <summary>Idempotent for an equal specification.</summary>
    /// <exception cref="FaultException">name-invalid; retention-invalid; enterprise-not-found; appliance-exists if another specification was given before.</exception>
    [Alias("Create")]
    Task<ApplianceView> Create(ApplianceSpec spec);

    /// <exception cref="FaultException">appliance-not-found.</exception>
    /// <remarks>Interleaves with longer calls: the state is immutable and replaced as a whole, so that a reader sees one version of it.</remarks>
    [Alias("Get"), AlwaysInterleave]
    Task<ApplianceView> Get();

    /// <summary>Renames or describes it, or gives it a retention rule. Allowed when Deployed or Undeployed.</summary>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; name-invalid; retention-invalid; enterprise-fixed if another enterprise is named.</exception>
    [Alias("Change")]
    Task<ApplianceView> Change(ApplianceSpec spec);

    /// <summary>As <see cref="Change"/>, for the members that the patch names. Does nothing if nothing would change.</summary>
    /// <param name="ifVersions">The versions that the change was made for; empty for any.</param>
    /// <exception cref="FaultException">As of <see cref="Change"/>; appliance-changed: its version has changed.</exception>
    [Alias("Patch")]
    Task<ApplianceView> Patch(PatchDocument patch, IReadOnlyList<long> ifVersions);

    /// <summary>Removes it and its machines. Allowed when Undeployed. Images stay.</summary>
    /// <param name="ifVersions">Only if it has one of these versions; null or empty for any.</param>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; appliance-deployed; appliance-changed.</exception>
    [Alias("Delete")]
    Task Delete(IReadOnlyList<long>? ifVersions = null);

    /// <summary>Adds a machine, undeployed. Allowed when Deployed or Undeployed. In a deployed appliance the machine is deployed with the next deployment. Idempotent for an equal specification.</summary>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; name-taken; image-not-found, also if another enterprise does not share it; image-not-ready; virtual-machine-too-small; too-many-virtual-machines.</exception>
    [Alias("AddVirtualMachine")]
    Task<VirtualMachineView> AddVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec);

    /// <summary>Changes a machine that is undeployed. Allowed when Deployed or Undeployed.</summary>
    /// <exception cref="FaultException">virtual-machine-not-found; appliance-busy; virtual-machine-deployed; name-taken; image-not-ready; virtual-machine-too-small.</exception>
    [Alias("ChangeVirtualMachine")]
    Task<VirtualMachineView> ChangeVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec);

    /// <summary>As <see cref="ChangeVirtualMachine"/>, for the members that the patch names. Does nothing if nothing would change.</summary>
    /// <param name="ifVersions">The versions of the machine that the change was made for; empty for any.</param>
    /// <exception cref="FaultException">As of <see cref="ChangeVirtualMachine"/>; virtual-machine-changed: its version has changed.</exception>
    [Alias("PatchVirtualMachine")]
    Task<VirtualMachineView> PatchVirtualMachine(VirtualMachineId id, PatchDocument patch, IReadOnlyList<long> ifVersions);

    /// <summary>Removes a machine that is undeployed. Allowed when Deployed or Undeployed.</summary>
    /// <param name="ifVersions">Only if the machine has one of these versions; null or empty for any.</param>
    /// <exception cref="FaultException">virtual-machine-not-found; appliance-busy; virtual-machine-deployed; virtual-machine-changed.</exception>
    [Alias("RemoveVirtualMachine")]
    Task RemoveVirtualMachine(VirtualMachineId id, IReadOnlyList<long>? ifVersions = null);

    /// <summary>Deploys every machine that is not deployed. Allowed when Undeployed, and when Deployed with machines that are not.
    /// Idempotent by operation.</summary>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; appliance-deployed; appliance-empty; image-not-ready; virtual-machine-too-small; quota-virtual-machines; quota-cpus;
    /// quota-memory-bytes; no-capacity.</exception>
    [Alias("Deploy")]
    Task<OperationView> Deploy(OperationId operation);

    /// <summary>Removes every machine from its host and throws its changes away. Allowed when Deployed. Idempotent by operation.</summary>
    /// <param name="force">As <see cref="Force"/> from the start. Part of what was asked for: a repeated call has the same.</param>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; appliance-not-deployed.</exception>
    [Alias("Undeploy")]
    Task<OperationView> Undeploy(OperationId operation, bool force);

    /// <summary>Captures machines as slave images. Allowed when Deployed. Idempotent by operation.</summary>
    /// <exception cref="FaultException">appliance-not-found; appliance-busy; appliance-not-deployed; choice-empty; choice-repeated;
    /// virtual-machine-not-in-appliance; virtual-machine-not-deployed; quota-images; quota-virtual-bytes; quota-library-bytes if the enterprise is at its quota already:
    /// what a capture takes is known only when it has sealed the disks; no-space.</exception>
    [Alias("CreateInstance")]
    Task<OperationView> CreateInstance(OperationId operation, CreateInstanceCommand command);

    /// <summary>Called by the operation's grain: undoes the running operation. Idempotent.</summary>
    /// <exception cref="FaultException">operation-past-commit; operation-finished.</exception>
    [Alias("Cancel")]
    Task Cancel(OperationId operation);

    /// <summary>Called by the operation's grain: from now on the operation skips what it cannot do on a host, whatever the reason is: the host is unreachable, does not have
    /// the machine, fails, or does not answer. The host removes or releases the skipped machines as soon as it can. Allowed past the commit point and while it unwinds. Idempotent.</summary>
    /// <exception cref="FaultException">operation-finished; operation-before-commit.</exception>
    [Alias("Force")]
    Task Force(OperationId operation);

    /// <summary>Called by the record of an operation that has not ended: the appliance resumes the operation, or reports how it ended. Idempotent.</summary>
    [Alias("Nudge"), OneWay]
    Task Nudge(OperationId operation);

    /// <summary>Called by a host whose machines have no records: creates the records of the appliance and of its machines on that host. Idempotent. A machine whose record has
    /// a later deployment is left out.</summary>
    /// <param name="dryRun">Only look.</param>
    /// <exception cref="FaultException">appliance-busy.</exception>
    [Alias("Adopt"), ResponseTimeout("00:02:00")]
    Task<IReadOnlyList<RecoveredMachine>> Adopt(HostId host, IReadOnlyList<FoundMachine> machines, bool dryRun);

    /// <summary>Called by a host whose machines were held for a capture for longer than the bound, or were found held after a restart.</summary>
    [Alias("ReleaseHold")]
    Task<HoldVerdict> ReleaseHold(OperationId operation);
}

/// <summary>What a host does with machines that are paused or frozen for a capture.</summary>
public enum HoldVerdict
{
    /// <summary>The operation has not committed and fails: the machines keep running.</summary>
    Release,

    /// <summary>The operation has committed, or is just about to: the machines stay as they are, and the host asks again.</summary>
    Keep,
}

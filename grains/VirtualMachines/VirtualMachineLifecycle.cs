using Instances.Faults;
using static Instances.VirtualMachines.VirtualMachineCommand;
using static Instances.VirtualMachines.VirtualMachineStatus;

namespace Instances.VirtualMachines;

internal enum VirtualMachineCommand
{
    Edit,
    Delete,
    Deploy,
    BeginCapture,
    Undeploy,

    /// <summary>Its host has removed it.</summary>
    Removed,

    /// <summary>An operation or a power action ended with this status.</summary>
    RestRunning,
    RestPaused,
    RestStopped,

    /// <summary>Its host observed a change without a request.</summary>
    ObserveRunning,
    ObservePaused,
    ObserveStopped,

    /// <summary>Its state is not known: its host is unreachable, or has lost it.</summary>
    LoseSight,

    /// <summary>A host has it, but the database has no record. The host's observation follows.</summary>
    Adopt,
}

/// <summary>Which commands a virtual machine takes, by its status.</summary>
/// <remarks>
/// <code>
///              Deploy                Rest…                       BeginCapture
///  Undeployed ────────► Deploying ─────────► Running ⇄ Paused ──────────────► Capturing
///      ▲                    │                   ⇅ Stopped ⇅     ◄──────────────   │
///      │ Removed            │ Undeploy             │ Undeploy          Rest…      │ Undeploy
///      └── Undeploying ◄────┴──────────────────────┴──────────────────────────────┘
/// </code>
/// <code>
///                               LoseSight
///  Running, Paused or Stopped ─────────────► Unknown ──Undeploy──► Undeploying
///                             ◄─────────────
///                            Observe…, Rest…
/// </code>
/// While an operation has the machine (Deploying, Capturing, Undeploying), the operation causes the changes that its host observes, and the operation
/// handles an unreachable host.
/// </remarks>
internal static class VirtualMachineLifecycle
{
    public static Decision<VirtualMachineStatus> Decide(VirtualMachineStatus status, VirtualMachineCommand command) => (status, command) switch
    {
        (Undeployed, Edit or VirtualMachineCommand.Delete) => Accept(Undeployed),
        (Undeployed, Deploy) => Accept(Deploying),
        (Undeployed, BeginCapture) => NotDeployed(),
        (Undeployed, Undeploy or Removed) => Ignore,
        (Undeployed or Running or Paused or Stopped or Unknown, Adopt) => Accept(Unknown),
        (Deploying or Capturing or Undeploying, Adopt) => Busy(status),
        (Undeployed, RestRunning or RestPaused or RestStopped) => Defect(status, command),
        (Undeployed, ObserveRunning or ObservePaused or ObserveStopped) => NotDeployed(),
        (Undeployed, LoseSight) => Ignore,

        (Deploying, Edit or VirtualMachineCommand.Delete or BeginCapture) => Busy(status),
        (Deploying, Deploy) => Ignore,
        (Deploying, Undeploy) => Accept(Undeploying),
        (Deploying, Removed) => Defect(status, command),
        (Deploying, RestRunning) => Accept(Running),
        (Deploying, RestPaused) => Accept(Paused),
        (Deploying, RestStopped) => Accept(Stopped),
        (Deploying, ObserveRunning or ObservePaused or ObserveStopped or LoseSight) => Ignore,

        (Running or Paused or Stopped, Edit or VirtualMachineCommand.Delete) => Deployed(status),
        (Running or Paused or Stopped, Deploy) => Deployed(status),
        (Running or Paused or Stopped, BeginCapture) => Accept(Capturing),
        (Running or Paused or Stopped, Undeploy) => Accept(Undeploying),
        (Running or Paused or Stopped, Removed) => Defect(status, command),
        (Running, RestRunning or ObserveRunning) => Ignore,
        (Paused, RestPaused or ObservePaused) => Ignore,
        (Stopped, RestStopped or ObserveStopped) => Ignore,
        (Paused or Stopped, RestRunning or ObserveRunning) => Accept(Running),
        (Running or Stopped, RestPaused or ObservePaused) => Accept(Paused),
        (Running or Paused, RestStopped or ObserveStopped) => Accept(Stopped),
        (Running or Paused or Stopped, LoseSight) => Accept(Unknown),

        (Capturing, Edit or VirtualMachineCommand.Delete or Deploy) => Busy(status),
        (Capturing, BeginCapture) => Busy(status),
        (Capturing, Undeploy) => Accept(Undeploying),
        (Capturing, Removed) => Defect(status, command),
        (Capturing, RestRunning) => Accept(Running),
        (Capturing, RestPaused) => Accept(Paused),
        (Capturing, RestStopped) => Accept(Stopped),
        (Capturing, ObserveRunning or ObservePaused or ObserveStopped or LoseSight) => Ignore,

        (Undeploying, Edit or VirtualMachineCommand.Delete or Deploy or BeginCapture) => Busy(status),
        (Undeploying, Undeploy) => Ignore,
        (Undeploying, Removed) => Accept(Undeployed),
        (Undeploying, RestRunning or RestPaused or RestStopped) => Defect(status, command),
        (Undeploying, ObserveRunning or ObservePaused or ObserveStopped or LoseSight) => Ignore,

        (Unknown, Edit or VirtualMachineCommand.Delete or Deploy) => Deployed(status),
        (Unknown, BeginCapture) => OutOfSight(),
        (Unknown, Undeploy) => Accept(Undeploying),
        (Unknown, Removed) => Defect(status, command),
        (Unknown, RestRunning or ObserveRunning) => Accept(Running),
        (Unknown, RestPaused or ObservePaused) => Accept(Paused),
        (Unknown, RestStopped or ObserveStopped) => Accept(Stopped),
        (Unknown, LoseSight) => Ignore,
    };

    /// <summary>Whether a user may control the machine's power. The hypervisor decides the effect of the action.</summary>
    public static Decision<VirtualMachineStatus> DecidePower(VirtualMachineStatus status, PowerAction action) => (status, action) switch
    {
        (Undeployed, _) => NotDeployed(),
        (Deploying or Capturing or Undeploying, _) => Busy(status),
        // Off is allowed: it ends a QEMU that does not answer and that a capture could not release.
        (Unknown, PowerAction.Off) => Accept(Stopped),
        (Unknown, PowerAction.On or PowerAction.Reset or PowerAction.Shutdown or PowerAction.Pause or PowerAction.Resume) => OutOfSight(),

        (Running, PowerAction.On or PowerAction.Resume) => Ignore,
        (Running, PowerAction.Reset or PowerAction.Shutdown) => Accept(Running),
        (Running, PowerAction.Pause) => Accept(Paused),
        (Running, PowerAction.Off) => Accept(Stopped),

        (Paused, PowerAction.Pause) => Ignore,
        (Paused, PowerAction.Resume) => Accept(Running),
        (Paused, PowerAction.Off) => Accept(Stopped),
        (Paused, PowerAction.On or PowerAction.Reset or PowerAction.Shutdown) =>
            Refuse("power-conflict", "The virtual machine is Paused: resume it first, or power it off."),

        (Stopped, PowerAction.Off or PowerAction.Shutdown) => Ignore,
        (Stopped, PowerAction.On) => Accept(Running),
        (Stopped, PowerAction.Pause or PowerAction.Resume or PowerAction.Reset) =>
            Refuse("power-conflict", "The virtual machine is Stopped: power it on first."),
    };

    public static VirtualMachineCommand Rest(VirtualMachineStatus power) => power switch
    {
        Running => RestRunning,
        Paused => RestPaused,
        Stopped => RestStopped,
        Undeployed or Deploying or Capturing or Undeploying or Unknown => throw new ArgumentOutOfRangeException(nameof(power), power, "A host reports Running, Paused or Stopped."),
    };

    public static VirtualMachineCommand Observe(VirtualMachineStatus power) => power switch
    {
        Running => ObserveRunning,
        Paused => ObservePaused,
        Stopped => ObserveStopped,
        Undeployed or Deploying or Capturing or Undeploying or Unknown => throw new ArgumentOutOfRangeException(nameof(power), power, "A host reports Running, Paused or Stopped."),
    };

    private static Decision<VirtualMachineStatus> Ignore => Decide<VirtualMachineStatus>.Ignore;

    private static Decision<VirtualMachineStatus> Accept(VirtualMachineStatus next) => Decide<VirtualMachineStatus>.Accept(next);

    private static Decision<VirtualMachineStatus> Refuse(string code, string message) => Decide<VirtualMachineStatus>.Refuse(code, message);

    private static Decision<VirtualMachineStatus> Defect(VirtualMachineStatus status, VirtualMachineCommand command) =>
        Decide<VirtualMachineStatus>.Defect(status, command.ToString());

    private static Decision<VirtualMachineStatus> NotDeployed() =>
        Refuse("virtual-machine-not-deployed", "The virtual machine is Undeployed: deploy its appliance first.");

    private static Decision<VirtualMachineStatus> Deployed(VirtualMachineStatus status) =>
        Refuse("virtual-machine-deployed", $"The virtual machine is {status}: undeploy its appliance first.");

    private static Decision<VirtualMachineStatus> OutOfSight() => new Decision<VirtualMachineStatus>.Refuse(new(
        FaultKind.Unavailable,
        "host-unavailable",
        "The virtual machine is Unknown: its problem says why. Wait until its host is back and has it again, or undeploy the appliance, with force if the host will not come back."));

    private static Decision<VirtualMachineStatus> Busy(VirtualMachineStatus status) =>
        Refuse("virtual-machine-busy", $"The virtual machine is {status}: wait for its appliance's operation to end.");
}

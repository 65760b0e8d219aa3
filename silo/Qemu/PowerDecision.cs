using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>Decides the effect of a power action in a power state.</summary>
/// <remarks>
/// <code>
///            On       Off     Shutdown  Reset    Pause    Resume
/// Running    nothing  act     act       act      act      nothing
/// Paused     refuse   act     refuse    act      nothing  act
/// Stopped    act      nothing nothing   refuse   refuse   refuse
/// </code>
/// </remarks>
internal abstract record PowerDecision
{
    private PowerDecision()
    {
    }

    public static PowerDecision Decide(VirtualMachineStatus status, PowerAction action) => (status, action) switch
    {
        (VirtualMachineStatus.Running, PowerAction.On or PowerAction.Resume) => new Nothing(),
        (VirtualMachineStatus.Running, PowerAction.Off or PowerAction.Shutdown or PowerAction.Reset or PowerAction.Pause) => new Act(),
        (VirtualMachineStatus.Paused, PowerAction.Pause) => new Nothing(),
        (VirtualMachineStatus.Paused, PowerAction.Off or PowerAction.Reset or PowerAction.Resume) => new Act(),
        (VirtualMachineStatus.Paused, PowerAction.On) => new Refuse("is paused, not off: resume it"),
        (VirtualMachineStatus.Paused, PowerAction.Shutdown) => new Refuse("is paused and cannot react to its power button: resume it first, or power it off"),
        (VirtualMachineStatus.Stopped, PowerAction.On) => new Act(),
        (VirtualMachineStatus.Stopped, PowerAction.Off or PowerAction.Shutdown) => new Nothing(),
        (VirtualMachineStatus.Stopped, PowerAction.Reset or PowerAction.Pause or PowerAction.Resume) => new Refuse("is stopped: power it on first"),
        (VirtualMachineStatus.Undeployed or VirtualMachineStatus.Deploying or VirtualMachineStatus.Capturing or VirtualMachineStatus.Undeploying
            or VirtualMachineStatus.Unknown,
            PowerAction.On or PowerAction.Off or PowerAction.Shutdown or PowerAction.Reset or PowerAction.Pause or PowerAction.Resume) =>
            new Refuse("is not deployed: deploy its appliance first"),
    };

    public sealed record Act : PowerDecision;

    public sealed record Nothing : PowerDecision;

    /// <param name="Reason">Follows the name of the machine.</param>
    public sealed record Refuse(string Reason) : PowerDecision;
}

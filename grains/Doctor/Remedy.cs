using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Doctor;

/// <summary>How a finding is repaired. The repair itself checks again whether it is right.</summary>
internal abstract record Remedy
{
    private Remedy()
    {
    }

    public sealed record Sweep : Remedy;

    public sealed record RemoveLayer(HostId Host, LayerId Layer) : Remedy;

    public sealed record RemoveOrphan(HostId Host, VirtualMachineId Machine, IReadOnlyList<LayerId> OwnLayers) : Remedy;

    /// <summary>Releases the reservations of an operation.</summary>
    public sealed record Release(OperationId Operation) : Remedy;

    /// <summary>Makes the appliance continue with its operation.</summary>
    public sealed record Nudge(ApplianceId Appliance, OperationId Operation) : Remedy;

    /// <summary>Lets the owner report how the operation ended, and ends the record if the owner does not know the operation.</summary>
    public sealed record Close(OperationView Operation) : Remedy;

    /// <summary>Writes the manifest of an image as its record has it.</summary>
    public sealed record WriteManifest(ImageId Image) : Remedy;

    public sealed record RemoveReminder(GrainId Grain, string Name, string ETag) : Remedy;

    /// <summary>Resumes a guest that is paused and should run.</summary>
    public sealed record Resume(HostId Host, VirtualMachineId Machine) : Remedy;

    /// <summary>Releases a machine that is held for a capture.</summary>
    public sealed record LetGo(HostId Host, OperationId Operation, VirtualMachineId Machine) : Remedy;
}

/// <summary>A finding of one snapshot.</summary>
/// <param name="Remedy">Null if the operator has to decide.</param>
internal sealed record Symptom(string Code, FindingSeverity Severity, string Subject, string Message, Remedy? Remedy = null)
{
    /// <summary>Identifies the same finding in another snapshot.</summary>
    public (string Code, string Subject) Key => (Code, Subject);

    public Finding ToFinding(bool isFixed) => new(Code, Severity, Subject, Message, Remedy is not null, isFixed);
}

using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Doctor;

/// <summary>How a finding is repaired. Whoever carries it out looks once more whether it is right. Closed.</summary>
internal abstract record Remedy
{
    private Remedy()
    {
    }

    public sealed record Sweep : Remedy;

    public sealed record RemoveLayer(HostId Host, LayerId Layer) : Remedy;

    public sealed record RemoveOrphan(HostId Host, VirtualMachineId Machine, IReadOnlyList<LayerId> OwnLayers) : Remedy;

    /// <summary>Gives the reservations of an operation back.</summary>
    public sealed record Release(OperationId Operation) : Remedy;

    /// <summary>Makes the appliance continue with its operation.</summary>
    public sealed record Nudge(ApplianceId Appliance, OperationId Operation) : Remedy;

    /// <summary>Lets the owner tell how the operation ended, and ends the record of one that its owner does not know.</summary>
    public sealed record Close(OperationView Operation) : Remedy;

    /// <summary>Writes the manifest of an image as its record has it.</summary>
    public sealed record WriteManifest(ImageId Image) : Remedy;

    public sealed record RemoveReminder(GrainId Grain, string Name, string ETag) : Remedy;

    /// <summary>Resumes a guest that is paused although it is to run.</summary>
    public sealed record Resume(HostId Host, VirtualMachineId Machine) : Remedy;

    /// <summary>Lets a machine continue that was held for a capture.</summary>
    public sealed record LetGo(HostId Host, OperationId Operation, VirtualMachineId Machine) : Remedy;
}

/// <summary>What one look shows.</summary>
/// <param name="Remedy">Null if a person has to decide.</param>
internal sealed record Symptom(string Code, FindingSeverity Severity, string Subject, string Message, Remedy? Remedy = null)
{
    /// <summary>What makes it the same in another look.</summary>
    public (string Code, string Subject) Key => (Code, Subject);

    public Finding ToFinding(bool isFixed) => new(Code, Severity, Subject, Message, Remedy is not null, isFixed);
}

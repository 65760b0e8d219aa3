using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.VirtualMachines;

/// <summary>The key of a virtual machine.</summary>
[GenerateSerializer, Immutable, Alias("instances.VirtualMachineId")]
[JsonConverter(typeof(IdJsonConverter<VirtualMachineId>))]
public readonly record struct VirtualMachineId([property: Id(0)] Guid Value) : IGuidId<VirtualMachineId>
{
    public static VirtualMachineId From(Guid value) => new(value);

    public static VirtualMachineId New() => new(Guid.CreateVersion7());

    public static VirtualMachineId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<VirtualMachineId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out VirtualMachineId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>What to capture, and what to do with the appliance afterwards.</summary>
internal sealed record CreateInstanceRequest(
    [property: Description("The word all, or the ids of the machines to capture, each once.")]
    VirtualMachineChoice? VirtualMachines = null,
    [property: Description("Each captured machine uses its new image from then on, and its previous versions are retired.")]
    bool UpdateImages = false,
    [property: Description("How the guests' file systems are made consistent.")]
    Quiesce Quiesce = Quiesce.Freeze,
    [property: Description("The whole appliance is undeployed at the end; otherwise its machines continue as before.")]
    bool Undeploy = true)
{
    public CreateInstanceCommand ToCommand() => new(VirtualMachines?.Ids, UpdateImages, Quiesce, Undeploy);
}

/// <summary>All machines of an appliance, or a choice of them.</summary>
/// <param name="Ids">Null for all.</param>
[JsonConverter(typeof(VirtualMachineChoiceJsonConverter))]
internal sealed record VirtualMachineChoice(IReadOnlyList<VirtualMachineId>? Ids)
{
    public const string All = "all";
}

internal sealed class VirtualMachineChoiceJsonConverter : JsonConverter<VirtualMachineChoice>
{
    public override VirtualMachineChoice Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType switch
    {
        JsonTokenType.String when reader.ValueTextEquals(VirtualMachineChoice.All) => new(Ids: null),
        JsonTokenType.StartArray => new(JsonSerializer.Deserialize<VirtualMachineId[]>(ref reader, options)),
        _ => throw new JsonException($"expected \"{VirtualMachineChoice.All}\" or a list of ids of virtual machines."),
    };

    public override void Write(Utf8JsonWriter writer, VirtualMachineChoice value, JsonSerializerOptions options)
    {
        if (value.Ids is { } ids) JsonSerializer.Serialize(writer, ids, options);
        else writer.WriteStringValue(VirtualMachineChoice.All);
    }
}

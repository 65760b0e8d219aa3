using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Library;
using Instances.Operations;

namespace Instances.MainJob;

/// <summary>The results of the job. Other programs read its JSON property names.</summary>
internal sealed class Report
{
    private static readonly JsonSerializerOptions Json = new(InstancesJson.Options) { DefaultIgnoreCondition = JsonIgnoreCondition.Never };

    public bool Ok { get; set; }

    /// <summary>What was expected and found, or what else stopped the job. Left out if the job succeeded.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Error { get; set; }

    public Boots Boots { get; } = new();

    public List<Master> Masters { get; } = [];

    /// <summary>The slaves of this run that are in the library at its end.</summary>
    public List<Slave> Slaves { get; } = [];

    public List<Capture> Captures { get; } = [];

    /// <summary>The previous versions that the last capture replaced.</summary>
    public List<ImageId> Deleted { get; } = [];

    public Seconds Seconds { get; } = new();

    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>The number that the guests printed last, the same on both. Null if the job ended before that.</summary>
internal sealed class Boots
{
    public int? First { get; set; }

    public int? AfterReset { get; set; }

    public int? AfterPlainRedeploy { get; set; }

    public int? AfterCaptureAndRedeploy { get; set; }
}

internal sealed record Master(ImageId Id, string Name);

internal sealed record Slave(ImageId Id, string Name, ImageId? MasterId, ImageId? ParentId, ImageStatus Status, long Bytes)
{
    public static Slave Of(ImageView image) => new(image.Id, image.Name, image.Master, image.Parent, image.Status, image.Bytes);
}

internal sealed record Capture(
    OperationId OperationId, IReadOnlyList<string> VirtualMachines, double? WindowMs, double Seconds, long? DiskBytesWritten);

internal sealed class Seconds
{
    public double? Ready { get; set; }

    public double Job { get; set; }
}

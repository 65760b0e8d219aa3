using System.Collections.Concurrent;
using Instances.Faults;
using Instances.Library;

namespace Instances.Testing;

/// <summary>Records the requested imports.</summary>
internal sealed class SimulatedImports : IImports
{
    public IReadOnlyCollection<ImageId> UnderWay { get; set; } = [];

    public bool Has(ImageId image) => UnderWay.Contains(image);

    /// <summary>The existing files with their lengths.</summary>
    public ConcurrentDictionary<string, long> Files { get; } = new();

    /// <summary>The space of files with holes.</summary>
    public ConcurrentDictionary<string, long> DataBytes { get; } = new();

    public ConcurrentQueue<UploadPlan> TakenUp { get; } = new();

    public ConcurrentQueue<(UploadPlan Plan, string Path)> TakenFiles { get; } = new();

    public ConcurrentQueue<UploadPlan> TakenPromotions { get; } = new();

    /// <summary>Whether the bytes of a continued upload exist.</summary>
    public bool HasBytes { get; set; } = true;

    /// <summary>The next import of a file is answered with this.</summary>
    public FaultException? NextRefusal { get; set; }

    public void TakePromotion(ImageId image, UploadPlan plan) => TakenPromotions.Enqueue(plan);

    public bool TakeUp(ImageId image, UploadPlan plan)
    {
        if (HasBytes) TakenUp.Enqueue(plan);
        return HasBytes;
    }

    public MeasuredFile Measure(string path) => Files.TryGetValue(path, out var bytes)
        ? new(bytes, DataBytes.GetValueOrDefault(path, bytes))
        : throw new FaultException(new(FaultKind.Forbidden, "path-not-allowed", "No."));

    public void TakeFile(ImageId image, UploadPlan plan, string path)
    {
        if (NextRefusal is { } refusal)
        {
            NextRefusal = null;
            throw refusal;
        }

        TakenFiles.Enqueue((plan, path));
    }
}

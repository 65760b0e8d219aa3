using System.Collections.Concurrent;
using Instances.Faults;
using Instances.Library;

namespace Instances.Testing;

/// <summary>Notes what would be made an image.</summary>
internal sealed class SimulatedImports : IImports
{
    public IReadOnlyCollection<ImageId> UnderWay { get; set; } = [];

    /// <summary>The files that there are, with their lengths.</summary>
    public ConcurrentDictionary<string, long> Files { get; } = new();

    /// <summary>The space that those take that have holes.</summary>
    public ConcurrentDictionary<string, long> DataBytes { get; } = new();

    public ConcurrentQueue<UploadPlan> TakenUp { get; } = new();

    public ConcurrentQueue<(UploadPlan Plan, string Path)> TakenFiles { get; } = new();

    public ConcurrentQueue<UploadPlan> TakenPromotions { get; } = new();

    /// <summary>Whether the bytes of an upload that is taken up are there.</summary>
    public bool HasBytes { get; set; } = true;

    /// <summary>The next taking of a file is answered with this.</summary>
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

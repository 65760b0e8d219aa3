using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library;

/// <summary>Bounds the imports that make progress. The library's silo knows the imports that it is processing. This class counts those that are about to reach it.</summary>
internal sealed class ImportAdmission(ICatalogue catalogue, IImports imports, IOptions<LibraryOptions> options, TimeProvider time)
{
    /// <summary>An import that was admitted and did not reach the library's silo in this time no longer counts.</summary>
    private static readonly TimeSpan BeginBound = TimeSpan.FromMinutes(1);

    /// <summary>Uploads that wait for bytes do not count, but have their own bound: this factor times the bound of imports that make progress.</summary>
    private const int MaxWaitingFactor = 64;

    /// <summary>Admissions run one at a time, so that concurrent imports cannot exceed the bound.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Dictionary<ImageId, DateTimeOffset> _beginning = [];

    public static FaultException TooMany(int bound) => FaultException.Unavailable(
        "too-many-uploads", $"{bound} imports are under way, which is the bound (Library:MaxUploads). Repeat this one when one of them has ended, or cancel one.");

    /// <param name="bound">How many uploads may be open, whether or not they send bytes.</param>
    /// <param name="factor">By how much it exceeds Library:MaxUploads.</param>
    public static FaultException TooManyWaiting(int bound, int factor) => FaultException.Unavailable(
        "too-many-uploads", $"{bound} uploads have begun and have not ended, which is the bound ({factor} times Library:MaxUploads). Most of them wait for their bytes: send those, or cancel some, and repeat this one.");

    /// <exception cref="FaultException">too-many-uploads.</exception>
    public async Task Admit(ImageId image)
    {
        await _turn.WaitAsync();
        try
        {
            var now = time.GetUtcNow();
            foreach (var (lost, _) in _beginning.Where(begun => now - begun.Value > BeginBound).ToList()) _beginning.Remove(lost);
            var others = imports.UnderWay.Union(_beginning.Keys).ToHashSet();
            others.Remove(image);
            if (others.Count >= options.Value.MaxUploads) throw TooMany(options.Value.MaxUploads);
            if ((await catalogue.ImagesIn(ImageStatus.Importing)).Count >= options.Value.MaxUploads * MaxWaitingFactor) throw TooManyWaiting(options.Value.MaxUploads * MaxWaitingFactor, MaxWaitingFactor);
            _beginning[image] = now;
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Close(ImageId image) => _beginning.Remove(image);
}

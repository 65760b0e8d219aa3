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
            if (others.Count >= options.Value.MaxUploads || (await catalogue.ImagesIn(ImageStatus.Importing)).Count >= options.Value.MaxUploads * MaxWaitingFactor)
                throw TooMany(options.Value.MaxUploads);
            _beginning[image] = now;
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Close(ImageId image) => _beginning.Remove(image);
}

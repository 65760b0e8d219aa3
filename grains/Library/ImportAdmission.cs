using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library;

/// <summary>Bounds the imports that are under way. Those that have a record are counted in the catalogue; those that are about to have one, here.</summary>
internal sealed class ImportAdmission(ICatalogue catalogue, IOptions<LibraryOptions> options, TimeProvider time)
{
    /// <summary>An image that was admitted and neither began nor gave up in this time is gone, with its silo.</summary>
    private static readonly TimeSpan BeginBound = TimeSpan.FromMinutes(1);

    /// <summary>One at a time looks and is counted: of a hundred that come together no more than the bound see a free place.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Dictionary<ImageId, DateTimeOffset> _beginning = [];

    /// <exception cref="FaultException">too-many-uploads.</exception>
    public async Task Admit(ImageId image)
    {
        await _turn.WaitAsync();
        try
        {
            var now = time.GetUtcNow();
            foreach (var (lost, _) in _beginning.Where(begun => now - begun.Value > BeginBound).ToList()) _beginning.Remove(lost);
            var underWay = (await catalogue.ImagesIn(ImageStatus.Importing)).Union(_beginning.Keys).ToHashSet();
            if (!underWay.Contains(image) && underWay.Count >= options.Value.MaxUploads)
                throw FaultException.Unavailable("too-many-uploads", $"{options.Value.MaxUploads} imports are under way. Repeat this one when one of them has ended, or cancel one.");
            _beginning[image] = now;
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Close(ImageId image) => _beginning.Remove(image);
}

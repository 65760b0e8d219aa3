using Instances.Faults;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Library.Import;

public sealed class ImportPlacesTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly ImportPlaces _places;
    private readonly ImageId _image = ImageId.New();

    public ImportPlacesTests() => _places = new(Options.Create(new LibraryOptions { MaxUploads = 1 }), _time);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void Place_OfASilentSender_IsFreeForOthersUntilItsBytesComeAgain()
    {
        using var silent = _places.Take(_image);
        Assert.Equal("too-many-uploads", Assert.Throws<FaultException>(() => _places.Take(ImageId.New())).Fault.Code);

        _time.Advance(ImportPlaces.SilenceBound);

        _places.Take(ImageId.New()).Dispose();
        silent.MarkProgress();
        Assert.Throws<FaultException>(() => _places.Take(ImageId.New()));
    }

    [Fact]
    public void Place_OfAnImportThatIsConverted_CountsHoweverLongThatTakes()
    {
        using var place = _places.Take(_image);
        place.MarkReceived();

        _time.Advance(TimeSpan.FromHours(1));

        Assert.Equal([_image], _places.UnderWay);
    }

    [Fact]
    public async Task Claim_OfANewerSender_EndsTheOlderAndWaitsForIt()
    {
        var older = _places.Take(_image);
        Assert.True(older.TryClaim());
        using var newer = _places.Take(_image);

        var claim = newer.Claim(Token);

        Assert.True(older.Superseded.IsCancellationRequested);
        Assert.False(claim.IsCompleted);
        older.Dispose();
        Assert.True(await claim);
        Assert.False(newer.Superseded.IsCancellationRequested);
    }

    [Fact]
    public async Task Claim_OfAnUploadThatHasComeWhole_IsRefused()
    {
        using var older = _places.Take(_image);
        older.TryClaim();
        older.MarkReceived();
        using var newer = _places.Take(_image);

        Assert.False(await newer.Claim(Token));
        Assert.False(older.Superseded.IsCancellationRequested);
    }
}

namespace Instances.Library.Transfer;

/// <summary>What a store needs to move layers, in a test that has no web server.</summary>
internal static class TestTransfers
{
    public static LayerTransfers Over(LayerStoreOptions options)
    {
        var wrapped = Microsoft.Extensions.Options.Options.Create(options);
        return new(new(TimeProvider.System), new(wrapped, TimeProvider.System), new NoDataPlane(), wrapped, TimeProvider.System);
    }

    private sealed class NoDataPlane : IDataPlane
    {
        public Uri UploadAddress(ImageId image) => throw new NotSupportedException();

        public ExportTicket OfferExport(ImageId image) => throw new NotSupportedException();

        public Uri? LayerAddress(LayerId layer) => null;
    }
}

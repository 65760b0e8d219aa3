namespace Instances.Library;

/// <summary>Where this silo takes and gives bytes.</summary>
public interface IDataPlane
{
    /// <summary>The absolute URL that takes the upload of an image.</summary>
    Uri UploadAddress(ImageId image);

    /// <summary>Where an image can be exported, for whoever holds the ticket.</summary>
    ExportTicket OfferExport(ImageId image);

    /// <summary>The absolute URL of a layer, or null if this silo listens on all its addresses and was not told which of them others use.</summary>
    Uri? LayerAddress(LayerId layer);
}

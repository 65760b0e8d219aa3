namespace Instances.Library;

/// <summary>The addresses at which this silo receives and sends bytes.</summary>
public interface IDataPlane
{
    /// <summary>The absolute URL to upload an image to.</summary>
    Uri UploadAddress(ImageId image);

    /// <summary>Where an image can be exported, with a ticket.</summary>
    ExportTicket OfferExport(ImageId image);

    /// <summary>The absolute URL of a layer, or null if this silo listens on all its addresses and none of them is configured for others.</summary>
    Uri? LayerAddress(LayerId layer);
}

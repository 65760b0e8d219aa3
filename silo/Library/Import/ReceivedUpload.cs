namespace Instances.Library.Import;

/// <summary>A complete upload whose header was accepted.</summary>
/// <param name="Bytes">The number of received bytes.</param>
/// <param name="Sha256">Of these bytes, in lower case hex.</param>
/// <param name="Compression">The compression of the upload, or null.</param>
/// <param name="Image">The image in the file; null if it is compressed, and so not known yet.</param>
internal sealed record ReceivedUpload(string Path, long Bytes, string Sha256, ImageCompression? Compression, InspectedImage? Image);

namespace Instances.Library.Import;

/// <summary>An upload that has come whole, and whose header holds nothing that is refused.</summary>
/// <param name="Bytes">How many bytes came.</param>
/// <param name="Sha256">Of these bytes, in lower case hex.</param>
/// <param name="Compression">What is around the image, or null.</param>
/// <param name="Image">What is in the file; null if it is compressed, so that nobody knows yet.</param>
internal sealed record ReceivedUpload(string Path, long Bytes, string Sha256, ImageCompression? Compression, InspectedImage? Image);

namespace Instances.Library.Import;

/// <summary>An upload that has come whole, and whose header holds nothing that is refused.</summary>
/// <param name="Bytes">How many bytes came.</param>
/// <param name="Sha256">Of these bytes, in lower case hex.</param>
/// <param name="VirtualSizeBytes">The size of the disk in it.</param>
/// <param name="IsDirty">Its reference counts have to be repaired before they are checked.</param>
internal sealed record ReceivedUpload(string Path, long Bytes, string Sha256, ImageFormat Format, long VirtualSizeBytes, bool IsDirty);

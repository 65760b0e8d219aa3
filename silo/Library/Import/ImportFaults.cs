using Instances.Faults;

namespace Instances.Library.Import;

/// <summary>The refusals of uploads. Messages never repeat content of the file.</summary>
internal static class ImportFaults
{
    public static FaultException Empty() => FaultException.Invalid("image-empty", "The upload has no bytes.");

    /// <param name="hint">What the user can do, if anything.</param>
    public static FaultException Malformed(string what, string? hint = null) => FaultException.Invalid(
        "image-malformed", $"The file is not a whole, well-formed disk image: {what}. {hint ?? "Download or export it again: it cannot be repaired."}");

    public static FaultException Corrupt(string what) =>
        FaultException.Invalid("image-corrupt", $"The image is damaged: {what}. Repair a copy of it with qemu-img check -r all, or download or export it again.");

    public static FaultException TooLaborious() =>
        FaultException.Invalid("image-malformed", "Reading the image takes more time or memory than is allowed. Convert it with qemu-img convert -O qcow2, and import the result.");

    public static FaultException RefersOutside(string what) =>
        FaultException.Invalid("image-refers-outside", $"The image needs another file: it has {what}. Convert it to a self-contained image with qemu-img convert.");

    public static FaultException UnsupportedVersion(uint version) =>
        FaultException.Invalid("image-unsupported-version", $"The image is qcow2 version {version}; versions 2 and 3 are supported. Convert it with qemu-img convert.");

    public static FaultException UnsupportedVersion(string format) =>
        FaultException.Invalid("image-unsupported-version", $"The image is of an unknown version of {format}. Convert it with qemu-img convert.");

    public static FaultException UnsupportedFeature(string what) =>
        FaultException.Invalid("image-unsupported-feature", $"The image uses {what}, which is not supported. Convert it with qemu-img convert.");

    public static FaultException Encrypted() =>
        FaultException.Invalid("image-encrypted", "The image is encrypted: its key is not known here. Decrypt it with qemu-img convert.");

    public static FaultException HasSnapshots() =>
        FaultException.Invalid("image-has-snapshots", "The image contains internal snapshots. Delete them, or extract one with qemu-img convert.");

    public static FaultException UnsupportedFormat() => FaultException.Invalid(
        "image-unsupported-format",
        "The upload is none of qcow2, VMDK, VDI, VHD and VHDX. Convert it with qemu-img convert, or declare format=raw if it is a raw disk.");

    public static FaultException Unsupported(KnownContent content) =>
        FaultException.Invalid("image-unsupported-format", $"The upload is {content.Name}, which cannot be imported. {content.Hint}");

    public static FaultException RawWithSignature(string name, string hint) => FaultException.Invalid(
        "format-mismatch", $"The upload was declared as raw and looks like {name}. {hint} If it really is a raw disk that only begins or ends like that, repeat the import with acceptSignature=true.");

    public static FaultException UnsupportedKind(string kind) =>
        FaultException.Invalid("image-unsupported-format", $"The image is {kind}, which cannot be imported. Convert it with qemu-img convert.");

    public static FaultException FormatMismatch(ImageFormat declared) => FaultException.Invalid(
        "format-mismatch", $"The upload was declared as {ImageFile.Of(declared).Text} but its content has another format. Declare the right format, or none.");

    public static FaultException TooLarge(long virtualSizeBytes, long bound) =>
        FaultException.Capacity("quota-exceeded", $"The disk in the image has {virtualSizeBytes} bytes; {bound} are allowed.");

    public static FaultException ExpandsTooFar(long bound) =>
        FaultException.Capacity("quota-exceeded", $"The upload expands to more than the {bound} bytes that are allowed.");

    public static FaultException ExpandsTooMuch(int bound) => FaultException.Capacity(
        "quota-exceeded", $"The upload expands to more than {bound} times its length (Import:MaxExpansion), not counting zeros. Expand it, and import the result.");

    public static FaultException TooLargeUpload(long bound) => FaultException.Invalid("image-too-large", $"The upload has more than the {bound} bytes that are allowed.");

    public static FaultException UploadMismatch(string what) => FaultException.Invalid("upload-mismatch", $"{what} Nothing of it was kept: upload it again.");

    /// <summary>A part that does not fit the received bytes changes nothing.</summary>
    public static FaultException PartMismatch(string what) =>
        FaultException.Conflict("upload-mismatch", $"{what} Nothing of this part was accepted: ask for the upload's offset, and continue there.");

    public static FaultException UploadBusy() =>
        FaultException.Conflict("upload-busy", "Another request has sent the last byte of this upload, or is storing its bytes. Ask for the upload's offset in a few seconds.");

    public static FaultException Superseded() =>
        FaultException.Conflict("upload-busy", "A newer request has taken over this upload. Ask for the upload's offset before you send more.");

    public static FaultException TimedOut(TimeSpan bound) => FaultException.Unavailable(
        "upload-timed-out", $"No byte arrived for {bound}. For an upload in parts the library keeps the received bytes: ask for the offset, and continue there. Send any other upload again.");

    public static FaultException PartAborted(Exception? cause = null) =>
        FaultException.Unavailable("upload-aborted", "The part ended early. The received bytes are kept: ask for the upload's offset, and continue there.", cause);

    public static FaultException FileInUse() => FaultException.Conflict(
        "file-in-use", "A virtual machine or another QEMU program has the file open for writing: its content may be incomplete. Shut down the program, and repeat the import.");

    public static FaultException FileChanged() => UploadMismatch("The file changed while it was read.");

    /// <summary>One sentence for all cases, so that clients cannot find out which files exist.</summary>
    public static FaultException PathNotAllowed(Exception? cause = null) => new(
        new(FaultKind.Forbidden, "path-not-allowed",
            "Only a regular file with one name, in one of the folders of Import:AllowedFolders on the library's machine, can be imported by an absolute path without links and without '..'."),
        cause);

    public static FaultException UploadAborted(Exception? cause = null) =>
        FaultException.Unavailable("upload-aborted", "The upload ended early. Nothing of it was kept: import the image again.", cause);
}

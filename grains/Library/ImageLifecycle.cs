using Instances.Faults;
using static Instances.Library.ImageCommand;
using static Instances.Library.ImageStatus;

namespace Instances.Library;

internal enum ImageCommand
{
    BeginImport,
    CompleteImport,
    FailImport,

    /// <summary>A capture has committed, or a rebuild of the library has found its manifest.</summary>
    Publish,

    /// <summary>A machine is created with it or deployed from it.</summary>
    Use,

    /// <summary>A user exports or promotes it.</summary>
    Export,
    Delete,

    /// <summary>Its grace period has passed.</summary>
    Expire,

    /// <summary>A user renames, describes or pins it.</summary>
    Change,

    /// <summary>A user restores it within its grace period.</summary>
    Restore,

    /// <summary>A layer that it needs was found corrupt.</summary>
    FindCorrupt,

    /// <summary>None of the layers that it needs is known to be corrupt.</summary>
    FindSound,
}

/// <summary>Which commands an image takes, by its status; null stands for an image that does not exist.</summary>
/// <remarks>
/// <code>
///         BeginImport              CompleteImport           Delete             Expire
///  (none) ──────────► Importing ──────────────────► Ready ────────► Retired ─────────► (none)
///    │                    │ FailImport               ▲ ▲            │  ▲
///    │                    └──────────► Failed ───────┼─┼────────────┼──┘
///    │                                       Delete  │ └────────────┘
///    └───────────────────────────────────────────────┘     Restore
///                         Publish
///
///         FindCorrupt              Delete
///  Ready ────────────► Corrupt ────────────► Retired
///    ▲                    │                     │
///    └────────────────────┴─────────────────────┘
///         FindSound          Restore (Corrupt again, while a layer is)
/// </code>
/// </remarks>
internal static class ImageLifecycle
{
    public static Decision<ImageStatus> Decide(ImageStatus? status, ImageCommand command) =>
        status is { } known ? DecideKnown(known, command) : DecideUnknown(command);

    private static Decision<ImageStatus> DecideUnknown(ImageCommand command) => command switch
    {
        BeginImport => Accept(Importing),
        Publish => Accept(Ready),
        CompleteImport or FailImport or Expire or FindCorrupt or FindSound => Ignore,
        Use or Export or ImageCommand.Delete or Change or Restore => NotFound(),
    };

    private static Decision<ImageStatus> DecideKnown(ImageStatus status, ImageCommand command) => (status, command) switch
    {
        (Importing, BeginImport) => Accept(Importing),
        (Importing, CompleteImport) => Accept(Ready),
        (Importing, FailImport) => Accept(Failed),
        (Importing, Publish) => Defect(Importing, command),
        (Importing, Use) => NotReady(Importing, "deployed: wait for its import to end"),
        (Importing, Export) => NotReady(Importing, "exported: wait for its import to end"),
        (Importing, ImageCommand.Delete) => Refuse("image-importing", "The image is Importing: cancel its import, or wait for it to end."),
        (Importing, Expire or FindCorrupt or FindSound) => Ignore,
        (Importing, Change or Restore) => Refuse("image-importing", "The image is Importing: wait for its import to end."),

        (Ready, BeginImport) => Refuse("image-exists", "The image is Ready: an import creates a new image."),
        (Ready, CompleteImport or FailImport or Publish or Expire or Restore or FindSound) => Ignore,
        (Ready, FindCorrupt) => Accept(Corrupt),
        (Ready, Use or Export or Change) => Accept(Ready),
        (Ready, ImageCommand.Delete) => Accept(Retired),

        (Retired, BeginImport) => Refuse("image-exists", "The image is Retired: an import creates a new image."),
        (Retired, CompleteImport or FailImport or Publish or ImageCommand.Delete) => Ignore,
        (Retired, Use) => NotReady(Retired, "deployed: choose another image"),
        (Retired, Export) => NotReady(Retired, "exported: restore it first"),
        (Retired, Expire) => Accept(Retired),
        (Retired, Change) => Refuse("image-retired", "The image is Retired: restore it before you change it."),
        (Retired, Restore) => Accept(Ready),
        (Retired, FindCorrupt or FindSound) => Accept(Retired),

        (Corrupt, BeginImport) => Refuse("image-exists", "The image is Corrupt: an import creates a new image."),
        (Corrupt, CompleteImport or FailImport or Publish or Expire or Restore) => Ignore,
        (Corrupt, Use) => Refuse("image-corrupt", "The image is Corrupt and cannot be deployed: choose another image, or bring back a host, or a datacenter of Library:Peers, that has a good copy of its layers."),
        (Corrupt, Export) => Refuse("image-corrupt", "The image is Corrupt and cannot be exported: the result would be damaged. Bring back a host, or a datacenter of Library:Peers, that has a good copy of its layers."),
        (Corrupt, Change or FindCorrupt) => Accept(Corrupt),
        (Corrupt, FindSound) => Accept(Ready),
        (Corrupt, ImageCommand.Delete) => Accept(Retired),

        (Failed, BeginImport) => Refuse("image-exists", "The import of this image has failed: import it again as a new one."),
        (Failed, CompleteImport or FailImport or Publish or Expire or FindCorrupt or FindSound) => Ignore,
        (Failed, Use) => NotReady(Failed, "deployed: choose another image"),
        (Failed, Export) => NotReady(Failed, "exported: it has no data"),
        (Failed, ImageCommand.Delete) => Accept(Retired),
        (Failed, Change or Restore) => Refuse("image-failed", "The image is Failed and has no data: delete it, and import it again as a new one."),
    };

    private static Decision<ImageStatus> Ignore => Decide<ImageStatus>.Ignore;

    private static Decision<ImageStatus> Accept(ImageStatus next) => Decide<ImageStatus>.Accept(next);

    private static Decision<ImageStatus> Refuse(string code, string message) => Decide<ImageStatus>.Refuse(code, message);

    private static Decision<ImageStatus> Defect(ImageStatus status, ImageCommand command) => Decide<ImageStatus>.Defect(status, command.ToString());

    private static Decision<ImageStatus> NotFound() =>
        new Decision<ImageStatus>.Refuse(new(FaultKind.NotFound, "image-not-found", "There is no such image in the library."));

    private static Decision<ImageStatus> NotReady(ImageStatus status, string whatAndAdvice) =>
        Refuse("image-not-ready", $"The image is {status} and cannot be {whatAndAdvice}.");
}

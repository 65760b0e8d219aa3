using Instances.Faults;

namespace Instances.Library.Export;

/// <summary>The faults of exports.</summary>
internal static class ExportFaults
{
    public static FaultException LayerUnreadable(LayerId layer, string what, Exception? cause = null) => new(
        new(FaultKind.Conflict, "layer-unreadable", $"The layer {layer} of the image cannot be read: {what}. Verify the library: the layer is replaced by a good copy if a host, or a datacenter of Library:Peers, has one."), cause);

    public static FaultException FormatUnsupported(string what) => FaultException.Invalid("export-format-unsupported", $"{what} Export the image as qcow2, raw or vhdx.");

    public static FaultException TooMany(int bound) =>
        FaultException.Unavailable("too-many-exports", $"{bound} exports are under way. Repeat this one when one of them has ended.");

    public static FaultException ProgramMissing() =>
        FaultException.Unavailable("zstd-missing", "The program zstd could not be started on the library's machine. Install it there, or export without compression.");

    public static FaultException CompressionFailed(ProcessOutcome outcome) =>
        new(new(FaultKind.Internal, "export-failed", $"zstd failed ({outcome.ExitCode}): {ForeignText.Clean(outcome.Errors, 300)}"));
}

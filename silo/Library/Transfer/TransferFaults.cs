using Instances.Faults;

namespace Instances.Library.Transfer;

/// <summary>The other side broke off, was silent for too long, or answered something else. Worth another try.</summary>
internal sealed class TransferBrokenException(string message, Exception? cause = null) : Exception(message, cause);

/// <summary>The other side does not take the ticket (any more): a new offer is needed.</summary>
internal sealed class TicketRefusedException() : Exception("The ticket was refused.");

internal static class TransferFaults
{
    public const string CorruptCode = "layer-corrupt";

    public static FaultException Corrupt(LayerId layer, string expected, string found) => new(new(
        FaultKind.Internal, CorruptCode,
        $"The layer {layer} that came has the SHA-256 {found} and should have {expected}: it was not taken. Check the disk that it came from, and try again."));

    public static FaultException Failed(LayerId layer, string reason, Exception? cause = null) => FaultException.Unavailable(
        "transfer-failed", $"The layer {layer} could not be moved: {reason} Try again; what has arrived is kept.", cause);
}

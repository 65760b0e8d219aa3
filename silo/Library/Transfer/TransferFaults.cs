using Instances.Faults;

namespace Instances.Library.Transfer;

/// <summary>The other side disconnected, was silent for too long, or sent an unexpected answer. A retry may succeed.</summary>
internal sealed class TransferBrokenException(string message, Exception? cause = null) : Exception(message, cause);

/// <summary>The other side does not accept the ticket, or no longer: a new offer is needed.</summary>
internal sealed class TicketRefusedException() : Exception("The ticket was refused.");

internal static class TransferFaults
{
    public const string CorruptCode = "layer-corrupt";

    public static FaultException Corrupt(LayerId layer, string expected, string found) => new(new(
        FaultKind.Internal, CorruptCode,
        $"The received layer {layer} has the SHA-256 {found} and should have {expected}: it was not used. Check the disk that it came from, and try again."));

    public static FaultException Failed(LayerId layer, string reason, Exception? cause = null) => FaultException.Unavailable(
        "transfer-failed", $"The layer {layer} could not be moved: {reason} Try again; the received bytes are kept.", cause);
}

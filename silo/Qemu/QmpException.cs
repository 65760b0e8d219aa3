namespace Instances.Qemu;

/// <summary>QEMU refused a command, or cannot be talked to.</summary>
/// <param name="isLost">Whether the connection is gone, so that nobody knows what became of the command.</param>
internal sealed class QmpException(string message, bool isLost = false, Exception? cause = null) : Exception(message, cause)
{
    public bool IsLost { get; } = isLost;
}

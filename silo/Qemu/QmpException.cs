namespace Instances.Qemu;

/// <summary>QEMU refused a command, or does not answer.</summary>
/// <param name="isLost">Whether the connection is lost, so that the outcome of the command is not known.</param>
internal sealed class QmpException(string message, bool isLost = false, Exception? cause = null) : Exception(message, cause)
{
    public bool IsLost { get; } = isLost;
}

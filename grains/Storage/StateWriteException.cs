namespace Instances.Storage;

/// <summary>A state could not be written. Whether it was is not known: the activation goes, and the next one reads what is there.</summary>
/// <remarks>Never crosses a grain call: the fault filter answers the caller.</remarks>
internal sealed class StateWriteException(Exception cause) : Exception("The state could not be written.", cause);

namespace Instances.Storage;

/// <summary>A write of a state failed. The state may have been written all the same: so the grain deactivates, and the next activation reads the stored state.</summary>
/// <remarks>Never crosses a grain call: the fault filter answers the caller.</remarks>
internal sealed class StateWriteException(Exception cause) : Exception("The state could not be written.", cause);

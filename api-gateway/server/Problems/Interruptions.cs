using Instances.Faults;
using Orleans.Runtime;
using Orleans.Runtime.Messaging;

namespace Instances.Problems;

/// <summary>Failures between the gateway and a grain: the call may or may not have been carried out.</summary>
internal static class Interruptions
{
    public static bool IsInterruption(Exception exception) => exception is
        TimeoutException
        or OrleansMessageRejectionException
        or GatewayTooBusyException
        or ClientNotAvailableException
        or ConnectionFailedException
        or EnumerationAbortedException
        or FaultException { Fault.Kind: FaultKind.Unavailable };
}

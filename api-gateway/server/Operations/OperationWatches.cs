using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Operations;

/// <summary>The places for connections that watch operations: each asks the datacenter for as long as it is open.</summary>
internal sealed class OperationWatches(IOptions<WatchOptions> options)
{
    private int _taken;

    /// <returns>The place, which is free again after it is disposed of.</returns>
    /// <exception cref="FaultException">too-many-watches.</exception>
    public IDisposable Take()
    {
        if (Interlocked.Increment(ref _taken) <= options.Value.MaxWatches) return new Place(this);
        Interlocked.Decrement(ref _taken);
        throw FaultException.Unavailable(
            "too-many-watches", $"This gateway serves {options.Value.MaxWatches} watches of operations already. Ask for the operation itself from time to time, or watch it through another gateway.");
    }

    private sealed class Place(OperationWatches watches) : IDisposable
    {
        private int _isDisposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isDisposed, 1) == 0) Interlocked.Decrement(ref watches._taken);
        }
    }
}

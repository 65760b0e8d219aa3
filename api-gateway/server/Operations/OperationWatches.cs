using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Operations;

/// <summary>Bounds the connections that watch operations: each calls the datacenter while it is open.</summary>
internal sealed class OperationWatches(IOptions<WatchOptions> options)
{
    private int _taken;

    /// <returns>The place. Dispose it to free it.</returns>
    /// <exception cref="FaultException">too-many-watches.</exception>
    public IDisposable Take()
    {
        if (Interlocked.Increment(ref _taken) <= options.Value.MaxWatches) return new Place(this);
        Interlocked.Decrement(ref _taken);
        throw FaultException.Unavailable(
            "too-many-watches", $"This gateway already serves {options.Value.MaxWatches} watches of operations. Get the operation from time to time instead, or watch it through another gateway.");
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

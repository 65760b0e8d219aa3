using Orleans.Runtime;

namespace Instances.Storage;

/// <summary>A grain with one durable, immutable state that is replaced as a whole.</summary>
internal abstract class StoredGrain<TState>(IPersistentState<TState> stored) : Grain
    where TState : class, IStoredState, new()
{
    protected TState State => stored.State;

    protected bool Exists => stored.RecordExists;

    /// <summary>Replaces the state. When this returns, it is durable and the catalogue shows it.</summary>
    protected async Task Save(TState next)
    {
        var before = stored.State;
        stored.State = next;
        try
        {
            await stored.WriteStateAsync();
        }
        catch (Exception exception)
        {
            stored.State = before;
            DeactivateOnIdle();
            throw new StateWriteException(exception);
        }
    }

    /// <summary>Deletes the state and its catalogue entry.</summary>
    protected async Task Forget()
    {
        try
        {
            await stored.ClearStateAsync();
        }
        catch (Exception exception)
        {
            DeactivateOnIdle();
            throw new StateWriteException(exception);
        }
    }
}

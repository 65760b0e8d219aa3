using Orleans.Runtime;

namespace Instances.Storage;

/// <summary>A grain with one durable, immutable state that is replaced as a whole.</summary>
/// <remarks>
/// Writes run one after the other, each from the state of the previous one. A reader that interleaves with a write sees the state before it. So the change of a failed
/// write was never visible.
/// </remarks>
internal abstract class StoredGrain<TState>(IPersistentState<TState> stored) : Grain
    where TState : class, IStoredState, new()
{
    private readonly SemaphoreSlim _writing = new(1);

    /// <summary>The durable state during a write; null otherwise.</summary>
    private TState? _durable;

    protected TState State => _durable ?? stored.State;

    protected bool Exists => stored.RecordExists;

    /// <summary>Replaces the state. When this returns, it is durable and the catalogue shows it.</summary>
    protected Task Save(TState next) => Save(_ => next);

    /// <inheritdoc cref="Save(TState)"/>
    /// <param name="change">Gets the state after the previous writes. If it throws, the caller gets the exception, and nothing is written.</param>
    protected Task Save(Func<TState, TState> change) => InTurn(async () =>
    {
        var next = change(stored.State);
        await Write(() =>
        {
            stored.State = next;
            return stored.WriteStateAsync();
        });
    });

    /// <summary>Deletes the state and its catalogue entry.</summary>
    protected Task Forget() => InTurn(() => Write(stored.ClearStateAsync));

    private async Task InTurn(Func<Task> act)
    {
        await _writing.WaitAsync();
        try
        {
            await act();
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task Write(Func<Task> write)
    {
        _durable = stored.State;
        try
        {
            await write();
        }
        catch (Exception exception)
        {
            stored.State = _durable;
            DeactivateOnIdle();
            throw new StateWriteException(exception);
        }
        finally
        {
            _durable = null;
        }
    }
}

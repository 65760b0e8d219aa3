using Orleans.Runtime;

namespace Instances.Storage;

/// <summary>A grain with one durable, immutable state that is replaced as a whole.</summary>
/// <remarks>
/// Writes take turns, each on what the one before has left. A reader that interleaves with a write sees the state before it: what a failed write takes back
/// was never shown.
/// </remarks>
internal abstract class StoredGrain<TState>(IPersistentState<TState> stored) : Grain
    where TState : class, IStoredState, new()
{
    private readonly SemaphoreSlim _writing = new(1);

    /// <summary>What is durable, while a write is under way; null otherwise.</summary>
    private TState? _durable;

    protected TState State => _durable ?? stored.State;

    protected bool Exists => stored.RecordExists;

    /// <summary>Replaces the state. When this returns, it is durable and the catalogue shows it.</summary>
    protected Task Save(TState next) => Save(_ => next);

    /// <inheritdoc cref="Save(TState)"/>
    /// <param name="change">Gets the state that the writes before this one have left. What it throws is thrown to the caller, and nothing is written.</param>
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

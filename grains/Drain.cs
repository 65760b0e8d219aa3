using Instances.Faults;

namespace Instances;

/// <summary>Work that must end before this silo stops: its running operations, and the machines that are held on its host.</summary>
/// <remarks>Shared by the grains of a silo. While the silo drains, they refuse new work.</remarks>
public sealed class Drain
{
    /// <summary>The fault code of refusals while a silo drains.</summary>
    public const string Code = "silo-stopping";

    private readonly Lock _lock = new();
    private int _running;
    private TaskCompletionSource? _ended;

    public bool IsDraining
    {
        get
        {
            lock (_lock) return _ended is not null;
        }
    }

    /// <summary>Begins work that the drain waits for.</summary>
    /// <returns>Dispose it when the work has ended. Disposing again does nothing.</returns>
    /// <exception cref="FaultException">silo-stopping: this silo accepts no new work.</exception>
    public IDisposable Begin()
    {
        lock (_lock)
        {
            if (_ended is not null) throw FaultException.Unavailable(Code, "The silo for this request is being restarted: try again in a few seconds.");
            _running++;
        }

        return new Running(this);
    }

    /// <summary>Continues work that began earlier: the drain waits for it, and it is never refused.</summary>
    /// <returns>As of <see cref="Begin"/>.</returns>
    public IDisposable GoOn()
    {
        lock (_lock) _running++;
        return new Running(this);
    }

    /// <summary>From now on new work is refused.</summary>
    /// <returns>Whether everything has ended within the bound.</returns>
    public async Task<bool> WaitForEnd(TimeSpan bound, TimeProvider time)
    {
        Task ended;
        lock (_lock)
        {
            _ended ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_running == 0) _ended.TrySetResult();
            ended = _ended.Task;
        }

        try
        {
            await ended.WaitAsync(bound, time);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            if (--_running == 0) _ended?.TrySetResult();
        }
    }

    private sealed class Running(Drain drain) : IDisposable
    {
        private Drain? _drain = drain;

        public void Dispose() => Interlocked.Exchange(ref _drain, null)?.Leave();
    }
}

using Instances.Faults;

namespace Instances;

/// <summary>What must come to its end before this silo goes: operations that run in it, machines that are held on its host.</summary>
/// <remarks>Shared by the grains of a silo. Who is told that the silo drains refuses what is new, so that the end comes.</remarks>
public sealed class Drain
{
    /// <summary>The code of what a silo refuses while it drains.</summary>
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

    /// <summary>Something begins that is waited for.</summary>
    /// <returns>To be disposed when it has ended; once more does nothing.</returns>
    /// <exception cref="FaultException">silo-stopping: nothing new begins here.</exception>
    public IDisposable Begin()
    {
        lock (_lock)
        {
            if (_ended is not null) throw FaultException.Unavailable(Code, "The part of the datacenter that would do this is being restarted: try again in a few seconds.");
            _running++;
        }

        return new Running(this);
    }

    /// <summary>Something continues that began before: it is waited for, and never refused.</summary>
    /// <returns>As of <see cref="Begin"/>.</returns>
    public IDisposable GoOn()
    {
        lock (_lock) _running++;
        return new Running(this);
    }

    /// <summary>From here on nothing new is begun.</summary>
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

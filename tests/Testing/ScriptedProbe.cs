using System.Collections.Concurrent;
using Instances.Faults;
using Instances.Sagas;

namespace Instances.Testing;

/// <summary>Repeats, fails or holds the steps of sagas, as a test asks. An undo goes by the name <c>undo &lt;step&gt;</c>.</summary>
internal sealed class ScriptedProbe : ISagaProbe
{
    private readonly ConcurrentDictionary<string, bool> _failedUndos = new();
    private TaskCompletionSource _released = NewSignal();
    private TaskCompletionSource _arrived = NewSignal();
    private int _failures;

    /// <summary>Every step, undo included, is run twice.</summary>
    public bool RepeatEverything { get; set; }

    /// <summary>Every undo fails once, after its body has run, before it is let through.</summary>
    public bool FailEachUndoOnce { get; set; }

    /// <summary>The step of this name fails after its body has run, as if its answer were lost.</summary>
    public string? FailAfter { get; set; }

    /// <summary>The step of this name fails before its body has run.</summary>
    public string? FailBefore { get; set; }

    /// <summary>How often <see cref="FailAfter"/> or <see cref="FailBefore"/> fails.</summary>
    public int FailTimes { get; set; } = 1;

    /// <summary>What a step that fails throws; null for a fault.</summary>
    public Exception? FailWith { get; set; }

    /// <summary>How many steps were made to fail.</summary>
    public int Failures => Math.Min(Volatile.Read(ref _failures), FailTimes);

    /// <summary>The step of this name waits before its body.</summary>
    public string? HoldBefore { get; set; }

    /// <summary>Every step and undo that ran to its end, in order.</summary>
    public ConcurrentQueue<string> Trace { get; } = new();

    /// <summary>Completes when the held step has been reached.</summary>
    public Task Arrived => _arrived.Task.WaitAsync(Bounds.Wait);

    public void Release()
    {
        HoldBefore = null;
        _arrived = NewSignal();
        Interlocked.Exchange(ref _released, NewSignal()).TrySetResult();
    }

    /// <summary>Callers that wait here never continue: their process has ended.</summary>
    public void Abandon()
    {
        HoldBefore = null;
        (_arrived, _released) = (NewSignal(), NewSignal());
    }

    public void Reset()
    {
        Release();
        (RepeatEverything, FailEachUndoOnce, FailAfter, FailBefore, FailWith, FailTimes, _failures) = (false, false, null, null, null, 1, 0);
        _failedUndos.Clear();
        Trace.Clear();
    }

    public async Task Around(SagaPoint point, Func<Task> action)
    {
        if (point.Item.Length > 0)
        {
            await action();
            return;
        }

        var name = point.IsUndo ? $"undo {point.Step}" : point.Step;
        if (HoldBefore == name)
        {
            var released = _released.Task;
            _arrived.TrySetResult();
            await released;
        }

        if (FailBefore == name && TakeFailure()) throw Failed(point);
        await action();
        if (RepeatEverything) await action();
        if (FailAfter == name && TakeFailure()) throw Failed(point);
        if (point.IsUndo && FailEachUndoOnce && _failedUndos.TryAdd(point.Step, true)) throw Failed(point);
        Trace.Enqueue(name);
    }

    private bool TakeFailure() => Interlocked.Increment(ref _failures) <= FailTimes;

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private Exception Failed(SagaPoint point) => FailWith ?? FaultException.Unavailable("told-to-fail", $"The step '{point.Step}' was told to fail.");
}

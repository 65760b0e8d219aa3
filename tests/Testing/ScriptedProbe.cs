using System.Collections.Concurrent;
using Instances.Faults;
using Instances.Sagas;

namespace Instances.Testing;

/// <summary>Repeats, fails or holds the steps of sagas, as a test asks.</summary>
internal sealed class ScriptedProbe : ISagaProbe
{
    private TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Every step, undo included, is run twice.</summary>
    public bool RepeatEverything { get; set; }

    /// <summary>Every undo fails once before it is let through.</summary>
    public bool FailEachUndoOnce { get; set; }

    /// <summary>The step of this name fails after its body has run, as if its answer were lost.</summary>
    public string? FailAfter { get; set; }

    /// <summary>The step of this name fails before its body has run.</summary>
    public string? FailBefore { get; set; }

    /// <summary>The step of this name waits before its body.</summary>
    public string? HoldBefore { get; set; }

    /// <summary>Every step and undo that ran to its end, in order.</summary>
    public ConcurrentQueue<string> Trace { get; } = new();

    private readonly ConcurrentDictionary<string, bool> _failedUndos = new();

    /// <summary>Completes when the held step has been reached.</summary>
    public Task Arrived => _arrived.Task.WaitAsync(Bounds.Wait);

    public void Release()
    {
        HoldBefore = null;
        _released.TrySetResult();
        _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    public void Reset()
    {
        Release();
        (RepeatEverything, FailEachUndoOnce, FailAfter, FailBefore) = (false, false, null, null);
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

        if (!point.IsUndo && HoldBefore == point.Step)
        {
            _arrived.TrySetResult();
            await _released.Task;
        }

        if (!point.IsUndo && FailBefore == point.Step) throw Failed(point);
        await action();
        if (RepeatEverything) await action();
        if (!point.IsUndo && FailAfter == point.Step) throw Failed(point);
        if (point.IsUndo && FailEachUndoOnce && _failedUndos.TryAdd(point.Step, true)) throw Failed(point);
        Trace.Enqueue(point.IsUndo ? $"undo {point.Step}" : point.Step);
    }

    private static FaultException Failed(SagaPoint point) => FaultException.Unavailable("told-to-fail", $"The step '{point.Step}' was told to fail.");
}

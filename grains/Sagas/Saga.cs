namespace Instances.Sagas;

/// <summary>A table of steps that a person can read top-down.</summary>
/// <param name="Name">In kebab case, such as <c>create-instance</c>.</param>
/// <param name="Steps">In order; exactly one is the commit point. Before it, everything can be undone; from it on, the saga only goes forward.</param>
internal sealed record Saga(string Name, IReadOnlyList<SagaStep> Steps)
{
    public int CommitIndex { get; } = Steps.Index().Single(step => step.Item.IsCommit).Index;
}

/// <summary>One step. Its body and its undo are idempotent: after a crash both may run again, on work that was done, half done or not begun.</summary>
internal sealed record SagaStep
{
    private SagaStep(string name, Func<CancellationToken, Task> body, Func<Task>? undo, bool isCommit, TimeSpan patience = default)
    {
        Name = name;
        Do = body;
        Undo = undo;
        IsCommit = isCommit;
        Patience = patience;
    }

    public string Name { get; }

    public Func<CancellationToken, Task> Do { get; }

    public Func<Task>? Undo { get; }

    public bool IsCommit { get; }

    /// <summary>How long the step is repeated before the commit point while a host or a silo that it needs is unreachable, as when it is restarted; 0 for not at all.</summary>
    public TimeSpan Patience { get; }

    public static SagaStep Undoable(string name, Func<CancellationToken, Task> body, Func<Task> undo, TimeSpan patience = default) =>
        new(name, body, undo, isCommit: false, patience);

    /// <param name="why">Why there is nothing to undo.</param>
    public static SagaStep WithoutUndo(string name, Func<CancellationToken, Task> body, string why, TimeSpan patience = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(why);
        return new(name, body, undo: null, isCommit: false, patience);
    }

    /// <summary>The commit point. Its body is one durable write, and nothing else.</summary>
    public static SagaStep Commit(string name, Func<CancellationToken, Task> body) => new(name, body, undo: null, isCommit: true);

    /// <summary>A step behind the commit point: repeated until it is done.</summary>
    public static SagaStep Forward(string name, Func<CancellationToken, Task> body) => new(name, body, undo: null, isCommit: false);
}

/// <summary>Where a saga stands. All that is durable of its progress: steps are idempotent, so that no step needs a record of its own.</summary>
internal enum SagaPhase
{
    /// <summary>Before the commit point.</summary>
    Forward,

    /// <summary>Failed or cancelled before the commit point: its steps are undone.</summary>
    Unwinding,

    /// <summary>Behind the commit point.</summary>
    Committed,
}

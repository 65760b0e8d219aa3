namespace Instances.Sagas;

/// <summary>A table of steps, to be read top-down.</summary>
/// <param name="Name">In kebab case, such as <c>create-instance</c>.</param>
/// <param name="Steps">In order; exactly one is the commit point. Before it, everything can be undone. After it, the saga is always completed.</param>
internal sealed record Saga(string Name, IReadOnlyList<SagaStep> Steps)
{
    public int CommitIndex { get; } = Steps.Index().Single(step => step.Item.IsCommit).Index;
}

/// <summary>One step. Its body and its undo are idempotent: after a crash both may run again, on work that was completed, partly done or not begun.</summary>
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

    /// <summary>How long the step is repeated before the commit point while a host or a silo that it needs is unreachable, for example during its restart; 0 for never.</summary>
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

    /// <summary>A step after the commit point: repeated until it succeeds.</summary>
    public static SagaStep Forward(string name, Func<CancellationToken, Task> body) => new(name, body, undo: null, isCommit: false);
}

/// <summary>The phase of a saga. Only this is durable: steps are idempotent, so that they need no records.</summary>
internal enum SagaPhase
{
    /// <summary>Before the commit point.</summary>
    Forward,

    /// <summary>Failed or cancelled before the commit point: its steps are undone.</summary>
    Unwinding,

    /// <summary>After the commit point.</summary>
    Committed,
}

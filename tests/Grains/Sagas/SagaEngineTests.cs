using Instances.Faults;
using Instances.Operations;
using Instances.Sagas;
using Instances.Storage;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Grains.Tests.Sagas;

public sealed class SagaEngineTests
{
    private static readonly SagaFailure Cancelled = new(new(FaultKind.Conflict, "operation-cancelled", "Cancelled."), Cancelled: true);

    private readonly FakeTimeProvider _time = new();
    private readonly Journal _journal = new();
    private readonly List<string> _trace = [];
    private readonly Dictionary<string, int> _failures = [];
    private readonly CancellationTokenSource _cancel = new();
    private readonly CancellationTokenSource _stop = new();
    private string _code = "told-to-fail";

    [Fact]
    public async Task Run_WhenAllGoesWell_RunsTheStepsInOrder()
    {
        Assert.IsType<SagaEnd.Succeeded>(await Run());

        Assert.Equal(["a", "b", "c", "commit", "x", "y"], _trace);
        Assert.All(_journal.Steps, step => Assert.Equal(StepStatus.Done, step.Value));
        Assert.Equal(6, _journal.Steps.Count);
    }

    [Theory]
    [InlineData("a", "a|undo b|undo a")]
    [InlineData("b", "a|b|undo b|undo a")]
    [InlineData("c", "a|b|c|undo b|undo a")]
    [InlineData("commit", "a|b|c|commit|undo b|undo a")]
    public async Task Run_WhenAStepBeforeTheCommitFails_UnwindsInReverse(string step, string expected)
    {
        _failures[step] = 1;

        var end = Assert.IsType<SagaEnd.Undone>(await Run());

        Assert.Equal("told-to-fail", end.Failure.Fault.Code);
        Assert.False(end.Failure.Cancelled);
        Assert.Equal(expected, string.Join('|', _trace));
        Assert.Equal(SagaPhase.Unwinding, _journal.Phase);
        Assert.All(["a", "b", "c"], name => Assert.Equal(StepStatus.Undone, _journal.Steps[name]));
    }

    [Fact]
    public async Task Run_WhenItUnwinds_MakesTheReasonDurableBeforeTheFirstUndo()
    {
        _failures["c"] = 1;
        _journal.OnUnwind = () => Assert.DoesNotContain(_trace, name => name.StartsWith("undo", StringComparison.Ordinal));

        await Run();

        Assert.Equal("told-to-fail", _journal.Failure!.Fault.Code);
    }

    [Fact]
    public async Task Run_WhenAnUndoFailsForAWhile_RepeatsItWithGrowingPauses()
    {
        (_failures["c"], _failures["undo b"]) = (1, SagaEngine.Attempts - 1);
        var began = _time.GetUtcNow();

        Assert.IsType<SagaEnd.Undone>(await Run());

        Assert.Equal(SagaEngine.Attempts, _trace.Count(name => name == "undo b"));
        Assert.Single(_trace, "undo a");
        Assert.Equal(TimeSpan.FromMilliseconds(200 * (1 + 2 + 4 + 8 + 16)), _time.GetUtcNow() - began);
    }

    [Fact]
    public async Task Run_WhenAnUndoFailsInEveryAttempt_UndoesTheOthersAtOnceAndIsStuck()
    {
        (_failures["c"], _failures["undo b"]) = (1, int.MaxValue);

        var end = Assert.IsType<SagaEnd.Stuck>(await Run());

        Assert.Equal(("b", "told-to-fail"), (end.Step, end.Fault.Code));
        Assert.Equal(["a", "b", "c", "undo b", "undo a", "undo b"], _trace.Take(6));
        Assert.Equal((StepStatus.Failed, StepStatus.Undone), (_journal.Steps["b"], _journal.Steps["a"]));
    }

    [Fact]
    public async Task Run_WhenTwoUndosFailInEveryAttempt_IsStuckWithTheFirst()
    {
        (_failures["c"], _failures["undo a"], _failures["undo b"]) = (1, int.MaxValue, int.MaxValue);

        Assert.Equal("b", Assert.IsType<SagaEnd.Stuck>(await Run()).Step);
    }

    [Theory]
    [InlineData("x", "x")]
    [InlineData("undo b", "b")]
    public async Task Run_WhileAStepIsRepeated_ShowsWhy(string fails, string step)
    {
        if (step == "b") _failures["c"] = 1;
        _failures[fails] = 1;

        await Run();

        Assert.Equal([$"{fails} was told to fail."], _journal.Problems[step].Where(problem => problem is not null));
        Assert.Null(_journal.Problems[step][^1]);
    }

    [Fact]
    public async Task Run_WhenItWasStuckInAnUndo_UnwindsInTheNextRun()
    {
        (_failures["c"], _failures["undo b"]) = (1, int.MaxValue);
        await Run();
        _failures.Clear();
        _trace.Clear();

        Assert.IsType<SagaEnd.Undone>(await Run());

        Assert.Equal(["undo b", "undo a"], _trace);
    }

    [Fact]
    public async Task Run_WhenAStepBehindTheCommitFailsForAWhile_RepeatsIt()
    {
        _failures["x"] = SagaEngine.Attempts - 1;

        Assert.IsType<SagaEnd.Succeeded>(await Run());

        Assert.Equal(SagaEngine.Attempts, _trace.Count(name => name == "x"));
        Assert.Equal("y", _trace[^1]);
    }

    [Fact]
    public async Task Run_WhenAStepBehindTheCommitGoesOnFailing_IsStuckAndUndoesNothing()
    {
        _failures["x"] = int.MaxValue;

        var end = Assert.IsType<SagaEnd.Stuck>(await Run());

        Assert.Equal("x", end.Step);
        Assert.DoesNotContain(_trace, name => name is "y" || name.StartsWith("undo", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Run_WhenItHasCommitted_GoesOnBehindTheCommitAndShowsWhatIsDone()
    {
        _journal.Phase = SagaPhase.Committed;

        Assert.IsType<SagaEnd.Succeeded>(await Run());

        Assert.Equal(["x", "y"], _trace);
        Assert.All(["a", "b", "c", "commit"], name => Assert.Equal(StepStatus.Done, _journal.Steps[name]));
    }

    [Fact]
    public async Task Run_WhenTheCommitIsDurableButItsAnswerIsLost_GoesForward()
    {
        _failures["after commit"] = 1;

        Assert.IsType<SagaEnd.Succeeded>(await Run());

        Assert.Equal(["a", "b", "c", "commit", "x", "y"], _trace);
    }

    [Fact]
    public async Task Run_WhenCancelledBetweenSteps_Unwinds()
    {
        _journal.OnStep = (step, status) => CancelWhen(step == "b" && status is StepStatus.Done);

        var end = Assert.IsType<SagaEnd.Undone>(await Run());

        Assert.True(end.Failure.Cancelled);
        Assert.Equal(["a", "b", "undo b", "undo a"], _trace);
    }

    [Fact]
    public async Task Run_WhenCancelledWithinAStep_GivesTheStepTheTokenAndUnwinds()
    {
        var end = Assert.IsType<SagaEnd.Undone>(await Run(onB: async token =>
        {
            await _cancel.CancelAsync();
            token.ThrowIfCancellationRequested();
        }));

        Assert.Same(Cancelled, end.Failure);
        Assert.Equal(["a", "b", "undo b", "undo a"], _trace);
    }

    [Fact]
    public async Task Run_WhenAStepFailsThatWasToBeCancelled_IsCancelled()
    {
        var end = Assert.IsType<SagaEnd.Undone>(await Run(onB: async _ =>
        {
            await _cancel.CancelAsync();
            throw FaultException.Unavailable("grain-unavailable", "The host broke its start off.");
        }));

        Assert.Same(Cancelled, end.Failure);
        Assert.Equal("a|b|undo b|undo a", string.Join('|', _trace));
    }

    [Fact]
    public async Task Run_WhenCancelledBehindTheCommit_GoesForward()
    {
        _journal.OnStep = (step, status) => CancelWhen(step == "x" && status is StepStatus.Running);

        Assert.IsType<SagaEnd.Succeeded>(await Run());

        Assert.Equal("y", _trace[^1]);
    }

    [Theory]
    [InlineData("b")]
    [InlineData("x")]
    public async Task Run_WhenStopped_EndsWhereItStandsAndUndoesNothing(string during)
    {
        Func<CancellationToken, Task> stop = async token =>
        {
            await _stop.CancelAsync();
            token.ThrowIfCancellationRequested();
        };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => during == "b" ? Run(onB: stop) : Run(onX: stop));

        Assert.Equal(during, _trace[^1]);
        Assert.Equal(during == "b" ? SagaPhase.Forward : SagaPhase.Committed, _journal.Phase);
    }

    [Fact]
    public async Task Run_WhenStoppedInAPause_EndsAtOnce()
    {
        _failures["x"] = int.MaxValue;
        _journal.OnStep = (step, _) =>
        {
            if (step == "x" && _trace.Count(name => name == "x") == 2) _stop.Cancel();
        };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Run());
    }

    [Theory]
    [InlineData("b")]
    [InlineData("commit")]
    [InlineData("x")]
    public async Task Run_WhenTheStateCannotBeWritten_EndsWithoutUnwinding(string step)
    {
        Func<CancellationToken, Task> fail = _ => throw new StateWriteException(new IOException("The disk is full."));

        await Assert.ThrowsAsync<StateWriteException>(() => step switch
        {
            "b" => Run(onB: fail),
            "x" => Run(onX: fail),
            _ => Run(onCommit: fail),
        });

        Assert.Equal(step, _trace[^1]);
        Assert.NotEqual(SagaPhase.Unwinding, _journal.Phase);
    }

    [Fact]
    public async Task Run_WhenAStepThrowsAnUnknownException_FailsWithInternalError()
    {
        var end = Assert.IsType<SagaEnd.Undone>(await Run(onB: _ => throw new FormatException("secret")));

        Assert.Equal((FaultKind.Internal, "internal-error"), (end.Failure.Fault.Kind, end.Failure.Fault.Code));
        Assert.DoesNotContain("secret", end.Failure.Fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_WhenAGrainDoesNotAnswer_FailsWithGrainUnavailable()
    {
        var end = Assert.IsType<SagaEnd.Undone>(await Run(onB: _ => throw new TimeoutException()));

        Assert.Equal((FaultKind.Unavailable, "grain-unavailable"), (end.Failure.Fault.Kind, end.Failure.Fault.Code));
    }

    [Fact]
    public void Saga_WithoutOrWithTwoCommits_IsRefused()
    {
        Assert.Throws<InvalidOperationException>(() => new Saga("none", [SagaStep.Forward("a", _ => Task.CompletedTask)]));
        Assert.Throws<InvalidOperationException>(() => new Saga("two", [SagaStep.Commit("a", _ => Task.CompletedTask), SagaStep.Commit("b", _ => Task.CompletedTask)]));
    }

    [Fact]
    public void WithoutUndo_ThatDoesNotSayWhy_IsRefused() =>
        Assert.Throws<ArgumentException>(() => SagaStep.WithoutUndo("a", _ => Task.CompletedTask, why: " "));

    [Theory]
    [InlineData("host-unavailable")]
    [InlineData("grain-unavailable")]
    [InlineData("silo-stopping")]
    public async Task Run_WhenAPatientStepFindsSomebodyAway_IsRepeatedUntilHeIsBack(string code)
    {
        (_failures["b"], _code) = (4, code);

        Assert.IsType<SagaEnd.Succeeded>(await Run(patience: TimeSpan.FromSeconds(30)));

        Assert.Equal(5, _trace.Count(name => name == "b"));
        Assert.DoesNotContain(_trace, name => name.StartsWith("undo", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Run_WhenSomebodyStaysAwayForLongerThanTheStepsPatience_Unwinds()
    {
        (_failures["b"], _code) = (int.MaxValue, "host-unavailable");
        var began = _time.GetUtcNow();

        Assert.Equal("host-unavailable", Assert.IsType<SagaEnd.Undone>(await Run(patience: TimeSpan.FromSeconds(30))).Failure.Fault.Code);

        Assert.InRange(_time.GetUtcNow() - began, TimeSpan.FromSeconds(25), TimeSpan.FromSeconds(31));
    }

    [Fact]
    public async Task Run_WhenAPatientStepFailsByItself_UnwindsAtOnce()
    {
        _failures["b"] = 1;

        Assert.IsType<SagaEnd.Undone>(await Run(patience: TimeSpan.FromSeconds(30)));

        Assert.Single(_trace, "b");
    }

    [Fact]
    public async Task Run_WhenItIsCancelledWhileAStepWaits_UnwindsAsCancelled()
    {
        (_failures["b"], _code) = (int.MaxValue, "host-unavailable");
        var end = await Run(patience: TimeSpan.FromSeconds(30), onWait: () => CancelWhen(_trace.Count(name => name == "b") == 2));

        Assert.True(Assert.IsType<SagaEnd.Undone>(end).Failure.Cancelled);
        Assert.Equal(2, _trace.Count(name => name == "b"));
    }

    /// <summary>Three steps (the last one without an undo), a commit, and two more steps. Pauses end at once.</summary>
    private async Task<SagaEnd> Run(
        Func<CancellationToken, Task>? onB = null,
        Func<CancellationToken, Task>? onX = null,
        Func<CancellationToken, Task>? onCommit = null,
        TimeSpan patience = default,
        Action? onWait = null)
    {
        var saga = new Saga("made-up",
        [
            SagaStep.Undoable("a", token => Do("a", token), () => Do("undo a")),
            SagaStep.Undoable("b", token => Do("b", token, onB), () => Do("undo b"), patience),
            SagaStep.WithoutUndo("c", token => Do("c", token), why: "it changes nothing"),
            SagaStep.Commit("commit", async token =>
            {
                await Do("commit", token, onCommit);
                _journal.Phase = SagaPhase.Committed;
                FailIfTold("after commit");
            }),
            SagaStep.Forward("x", token => Do("x", token, onX)),
            SagaStep.Forward("y", token => Do("y", token)),
        ]);
        var run = new SagaEngine(new NoProbe(), _time, NullLogger<SagaEngine>.Instance).Run(saga, Guid.Empty, _journal, _cancel.Token, () => Cancelled, _stop.Token);
        while (!run.IsCompleted)
        {
            onWait?.Invoke();
            _time.Advance(TimeSpan.FromMilliseconds(200));
            await Task.Yield();
        }

        return await run;
    }

    private async Task Do(string name, CancellationToken token = default, Func<CancellationToken, Task>? also = null)
    {
        _trace.Add(name);
        FailIfTold(name);
        if (also is not null) await also(token);
    }

    private void FailIfTold(string name)
    {
        if (_failures.GetValueOrDefault(name) <= 0) return;
        _failures[name]--;
        throw FaultException.Unavailable(_code, $"{name} was told to fail.");
    }

    private void CancelWhen(bool condition)
    {
        if (condition) _cancel.Cancel();
    }

    private sealed class Journal : ISagaJournal
    {
        public SagaPhase Phase { get; set; } = SagaPhase.Forward;

        public SagaFailure? Failure { get; private set; }

        public Dictionary<string, StepStatus> Steps { get; } = [];

        public Action OnUnwind { get; set; } = () => { };

        public Action<string, StepStatus> OnStep { get; set; } = (_, _) => { };

        public Task Unwind(SagaFailure failure)
        {
            OnUnwind();
            (Phase, Failure) = (SagaPhase.Unwinding, failure);
            return Task.CompletedTask;
        }

        public Dictionary<string, List<string?>> Problems { get; } = [];

        public void Step(string step, StepStatus status, string? problem)
        {
            Steps[step] = status;
            if (!Problems.TryGetValue(step, out var problems)) Problems[step] = problems = [];
            problems.Add(problem);
            OnStep(step, status);
        }
    }
}

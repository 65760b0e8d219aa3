using System.Runtime.CompilerServices;
using Instances.Faults;
using Instances.Storage;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace Instances.Operations;

/// <remarks>
/// Reentrant: a cancel waits for the owner, which may be waiting to report how the operation ended. The view is replaced as a whole, and a finished view
/// never changes again. Each write starts from the state of the previous write.
/// </remarks>
[Reentrant]
internal sealed class OperationGrain(
    [PersistentState("operation", StorageNames.Grains)] IPersistentState<OperationState> stored, TimeProvider time)
    : StoredGrain<OperationState>(stored), IOperationGrain
{
    private OperationView? _view;
    private TaskCompletionSource _changed = NewSignal();

    private OperationId Id => new(this.GetPrimaryKey());

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (State.Start is not { } start) return Task.CompletedTask;
        _view = State.Outcome is { } outcome ? Finished(Begun(start), outcome) : Begun(start);
        if (_view.IsFinished && State.Version > 0) _view = _view with { Version = State.Version };

        // The record was activated in the middle of the operation: its owner may have died with the record's silo.
        return _view.IsFinished ? Task.CompletedTask : NudgeOwner(start);
    }

    public async Task<OperationView> Begin(OperationStart start)
    {
        if (_view is { } begun) return begun;
        var view = Begun(start);
        await Save(state => (state with { Start = start, Version = view.Version }).WithCatalogue(view));

        // Another call may have begun it meanwhile, and its owner may have reported since.
        if (_view is null) Show(view);
        return _view!;
    }

    public Task Report(OperationProgress progress)
    {
        if (_view is { IsFinished: false } view) Show(Shown(view, progress));
        return Task.CompletedTask;
    }

    public async Task Finish(OperationOutcome outcome)
    {
        if (_view is not { IsFinished: false } view) return;
        var finished = Finished(view, outcome);
        await Save(state =>
        {
            if (state.Outcome is not null) return state;

            // Reports may have arrived since the call began. The final version differs from all reported ones.
            finished = finished with { Version = NextVersion(Math.Max(_view!.Version, state.Version)) };
            return (state with { Outcome = outcome, Version = finished.Version }).WithCatalogue(finished);
        });
        if (_view is { IsFinished: false }) Show(finished);
    }

    public Task<OperationView?> Find() => Task.FromResult(_view);

    public async IAsyncEnumerable<OperationView> Watch(long afterVersion, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // An unknown version is from an earlier activation, whose clock may have been ahead: treat it as older.
        var seen = afterVersion;
        while (true)
        {
            var (view, changed) = (RequireView(), _changed.Task);
            if (view.Version != seen)
            {
                seen = view.Version;
                yield return view;
            }

            if (view.IsFinished) yield break;
            if (_view!.Version != seen) continue;
            await changed.WaitAsync(cancellationToken);
        }
    }

    public async Task<OperationView> Cancel()
    {
        var view = RequireView();
        if (view.Status is OperationStatus.Cancelled) return view;
        if (view.IsFinished) throw FaultException.Conflict("operation-finished", $"The operation is {view.Status}: there is nothing to cancel.");
        if (view.Appliance is { } appliance) await GrainFactory.Appliance(appliance).Cancel(Id);
        else await GrainFactory.Image(view.Image!.Value).CancelImport(Id);
        return _view!;
    }

    public async Task<OperationView> Force()
    {
        var view = RequireView();
        if (view.IsFinished) throw FaultException.Conflict("operation-finished", $"The operation is {view.Status}: there is nothing to force.");
        if (view.Appliance is not { } appliance) throw FaultException.Conflict("operation-without-hosts", "An import or a promotion does not wait for hosts: cancel it.");
        await GrainFactory.Appliance(appliance).Force(Id);
        return _view!;
    }

    private OperationView RequireView() => _view ?? throw FaultException.NotFound("operation-not-found", "There is no such operation.");

    private Task NudgeOwner(OperationStart start) =>
        start.Appliance is { } appliance ? GrainFactory.Appliance(appliance).Nudge(Id) : GrainFactory.Image(start.Image!.Value).Nudge(Id);

    private void Show(OperationView view)
    {
        _view = view;
        var changed = _changed;
        _changed = NewSignal();
        changed.SetResult();
    }

    private OperationView Begun(OperationStart start) => new(
        Id, start.Kind, OperationStatus.Running, start.Appliance, start.Image, Step: null, [.. start.Steps.Select(step => new StepView(step, StepStatus.Waiting))],
        start.VirtualMachines, start.StartedAt, FinishedAt: null, NextVersion(State.Version), Cancellable: false, Fault: null, Result: null, start.Command, start.Forced);

    private OperationView Shown(OperationView view, OperationProgress progress) => view with
    {
        Status = progress.Status,
        Steps = progress.Steps,
        Step = progress.Steps.LastOrDefault(step => step.Status is StepStatus.Running)?.Name,
        VirtualMachines = progress.VirtualMachines,
        Cancellable = progress.Cancellable,
        Fault = progress.Fault,
        Version = NextVersion(view.Version),
    };

    private OperationView Finished(OperationView view, OperationOutcome outcome) => Shown(view, outcome.Last) with
    {
        Status = outcome.Status,
        Step = null,
        Cancellable = false,
        // The clock may have been set back since it began.
        FinishedAt = outcome.FinishedAt > view.StartedAt ? outcome.FinishedAt : view.StartedAt,
        Fault = outcome.Fault,
        Result = outcome.Result,
    };

    /// <summary>Based on the clock, so that it also grows over activations: versions of reports are not durable.</summary>
    private long NextVersion(long last) => Math.Max(last + 1, time.GetUtcNow().ToUnixTimeMilliseconds());

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}

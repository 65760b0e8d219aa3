using Instances.Catalogue;
using Instances.Faults;
using Instances.Operations;
using Instances.Sagas;
using Instances.Storage;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Appliances;

/// <summary>How an appliance runs its operations: it accepts them durably, runs them in the background, and resumes them at activation and when the reminder fires.</summary>
internal sealed partial class ApplianceGrain : ISagaContext, ISagaJournal
{
    private const string OperationReminder = "operation";

    /// <summary>How soon an operation is resumed after its silo has died.</summary>
    public static readonly TimeSpan ReminderPeriod = TimeSpan.FromSeconds(5);

    /// <summary>A capture that has moved bytes within this time continues, however long its machines are held: the library may be slow to reach, or there is much to move.</summary>
    private static readonly TimeSpan MovingBound = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _stop = new();
    private CancellationTokenSource _cancel = new();
    private SagaFailure? _cancelReason;
    private OperationReporter? _reporter;
    private Task _run = Task.CompletedTask;

    /// <summary>The operation that was accepted by this activation and has not begun its first step.</summary>
    private OperationId? _fresh;

    /// <summary>The step in which the previous run was stuck. It is shown until that step is done.</summary>
    private SagaEnd.Stuck? _stuck;

    /// <summary>The commit is being written: too late to cancel, though not durable yet.</summary>
    private bool _isCommitting;

    /// <summary>When the running operation last moved bytes, or null.</summary>
    private long? _movedAt;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        StartRun();
        return Task.CompletedTask;
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _stop.CancelAsync();
        await _run;
    }

    public async Task ReceiveReminder(string reminderName, TickStatus status)
    {
        if (State.Operation is not null) StartRun();
        else await Closed();
    }

    public async Task Nudge(OperationId operation)
    {
        if (State.Operation?.Id == operation) StartRun();
        else if (State.Ended?.Id == operation) await Closed();
    }

    public async Task Cancel(OperationId operation)
    {
        if (State.Operation is not { } running || running.Id != operation)
            throw FaultException.Conflict("operation-finished", "The operation has finished: there is nothing to cancel.");
        if (running.Phase is SagaPhase.Committed || _isCommitting)
            throw FaultException.Conflict("operation-past-commit", "The operation is past its commit point and cannot be undone: wait for it to end.");
        await Abort(new(new(FaultKind.Conflict, "operation-cancelled", "The operation was cancelled and undone."), Cancelled: true));
    }

    public async Task<HoldVerdict> ReleaseHold(OperationId operation)
    {
        if (State.Operation is not { } running || running.Id != operation) return HoldVerdict.Release;
        if (running.Phase is SagaPhase.Committed || _isCommitting) return HoldVerdict.Keep;
        if (running.Phase is SagaPhase.Forward && _movedAt is { } moved && time.GetElapsedTime(moved) < MovingBound) return HoldVerdict.Keep;
        await Abort(new(new(FaultKind.Unavailable, "hold-expired", "The machines were held for longer than the bound and were released: try again."), Cancelled: false));
        return HoldVerdict.Release;
    }

    public async Task Force(OperationId operation)
    {
        await SaveListed(state =>
        {
            if (state.Operation is not { } running || running.Id != operation)
                throw FaultException.Conflict("operation-finished", "The operation has finished: there is nothing to force.");
            if (running.Phase is SagaPhase.Forward)
                throw FaultException.Conflict("operation-before-commit", "The operation is before its commit point: cancel it. Force it only if its undo then waits for a host.");
            return state with { Operation = running with { Forced = true } };
        });

        // The next call of the run, or the next run, is forced.
        StartRun();
    }

    /// <summary>The answer to a repeated request, or null if the operation is not known.</summary>
    private async Task<OperationView?> Known(OperationId operation, OperationKind kind, CreateInstanceCommand? command = null, bool force = false)
    {
        RequireExists();
        var view = await GrainFactory.Operation(operation).Find();
        if (view is null && State.Operation is { } accepted && accepted.Id == operation)
        {
            // It was accepted, but its record was not created: the answer or the silo was lost.
            view = await GrainFactory.Operation(operation).Begin(accepted.ToStart(Id, StepNames(accepted.Kind)));
            StartRun();
        }

        if (view is null) return null;
        if (view.Kind == kind && view.Appliance == Id && SameCommand(view.Command, command) && view.Forced == force) return view;
        throw FaultException.Invalid("idempotency-key-reused", "The Idempotency-Key was used for another request: use a new one for each request.");
    }

    private static bool SameCommand(CreateInstanceCommand? one, CreateInstanceCommand? other) =>
        (one is null) == (other is null) && (one is null ||
            (one with { VirtualMachines = null } == other! with { VirtualMachines = null }
            && (one.VirtualMachines ?? []).ToHashSet().SetEquals(other.VirtualMachines ?? [])
            && one.VirtualMachines is null == other.VirtualMachines is null));

    /// <summary>Persist first, then act: the reminder, the intent, then the run, which creates the operation's record.</summary>
    private async Task<OperationView> Accept(RunningOperation operation, ApplianceStatus status)
    {
        using var accepting = BeginHere();
        await this.RegisterOrUpdateReminder(OperationReminder, ReminderPeriod, ReminderPeriod);
        await SaveListed(State with { Status = status, Operation = operation, Ended = null });
        (_fresh, _stuck) = (operation.Id, null);
        StartRun();
        var view = await GrainFactory.Operation(operation.Id).Begin(operation.ToStart(Id, StepNames(operation.Kind)));

        // The run may have failed to create the record, and ended.
        if (State.Operation?.Id == operation.Id) StartRun();
        return view;
    }

    private IReadOnlyList<string> StepNames(OperationKind kind) => [.. SagaOf(kind).Steps.Select(step => step.Name)];

    private Saga SagaOf(OperationKind kind) => kind switch
    {
        OperationKind.Deploy => new DeploySaga(this).Saga,
        OperationKind.Undeploy => new UndeploySaga(this).Saga,
        OperationKind.CreateInstance => new CreateInstanceSaga(this).Saga,
        OperationKind.Import or OperationKind.Promote => throw new ArgumentOutOfRangeException(nameof(kind), kind, "An image runs its import, and its promotion."),
    };

    /// <summary>Runs the operation in the background, on this grain's scheduler, unless it runs already or has ended.</summary>
    private void StartRun()
    {
        if (State.Operation is { } operation && _run.IsCompleted && !_stop.IsCancellationRequested) _run = Run(operation);
    }

    /// <summary>If this silo drains, the next call activates the appliance in another silo, or in this one when it is back.</summary>
    private IDisposable BeginHere()
    {
        if (drain.IsDraining) DeactivateOnIdle();
        return drain.Begin();
    }

    private async Task Run(RunningOperation operation)
    {
        using var running = drain.GoOn();
        DelayDeactivation(Timeout.InfiniteTimeSpan);
        (_cancel, _cancelReason, _isCommitting, _movedAt) = (new(), null, false, null);
        var record = GrainFactory.Operation(operation.Id);
        try
        {
            var start = operation.ToStart(Id, StepNames(operation.Kind));
            await record.Begin(start);
            _reporter = new(record, start.Steps, start.VirtualMachines, time, logger);
            if (_stuck is { } stuck) ShowStuck(stuck);
            else ShowRunning(operation);

            // The machines of a capture are held together only within one run.
            var isFirst = _fresh == operation.Id;
            _fresh = null;
            if (operation is { Kind: OperationKind.CreateInstance, Phase: SagaPhase.Forward } && !isFirst)
                await Unwind(new(new(FaultKind.Unavailable, "operation-interrupted", "The operation was interrupted before its commit point and was undone: try again."), Cancelled: false));

            var end = await engine.Run(SagaOf(operation.Kind), Id.Value, this, _cancel.Token, () => _cancelReason!, _stop.Token);
            await Conclude(end);

            // No operation waits for this. The next sweep of the library does what is left.
            if (end is SagaEnd.Succeeded && operation.Capture is { } capture)
                _ = FanOut.All(capture.Instances.Select(instance => instance.Master).Distinct(), master => retention.Apply(master));
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The next activation continues.
        }
        catch (Exception exception) when (exception is FaultException or StateWriteException or TimeoutException or OrleansException)
        {
            // The durable state is valid, and the reminder starts the next run.
            LogRunInterrupted(Id.Value, operation.Id.Value, exception.Message);
        }
        catch (Exception exception)
        {
            // Callers that wait for the run must not see this exception again and again.
            LogRunBroken(exception, Id.Value, operation.Id.Value);
        }
        finally
        {
            DelayDeactivation(TimeSpan.Zero);
        }
    }

    private async Task Conclude(SagaEnd end)
    {
        switch (end)
        {
            case SagaEnd.Succeeded:
                await CloseEnded();
                break;
            case SagaEnd.Undone undone:
                await End(
                    State.Operation!.RestStatus,
                    undone.Failure.Cancelled ? OperationStatus.Cancelled : OperationStatus.Failed,
                    undone.Failure.Fault,
                    result: null);
                await CloseEnded();
                break;
            case SagaEnd.Stuck stuck:
                _stuck = stuck;
                ShowStuck(stuck);
                LogStuck(Id.Value, State.Operation!.Id.Value, stuck.Step, stuck.Fault.Message);
                break;
        }
    }

    private void ShowStuck(SagaEnd.Stuck stuck) => _reporter!.Status(OperationStatus.Stuck, cancellable: false, stuck.Fault with
    {
        Message = $"The step '{stuck.Step}' failed in every attempt and is retried automatically: {stuck.Fault.Message} If that does not help, force the operation: it skips what its hosts cannot do.",
    });

    private void ShowRunning(RunningOperation operation) => _reporter!.Status(
        operation.Phase is SagaPhase.Unwinding ? OperationStatus.Unwinding : OperationStatus.Running, cancellable: operation.Phase is SagaPhase.Forward, operation.Failure?.Fault);

    public Task End(ApplianceStatus rest, OperationResult result)
    {
        if (State.Operation is null) return Task.CompletedTask;

        // The running step is the last one, and this write completes it.
        _reporter!.Step(SagaOf(State.Operation!.Kind).Steps[^1].Name, StepStatus.Done);
        return End(rest, OperationStatus.Succeeded, fault: null, result);
    }

    private Task End(ApplianceStatus rest, OperationStatus status, Fault? fault, OperationResult? result)
    {
        var outcome = new OperationOutcome(status, _reporter!.Progress, time.GetUtcNow(), fault, result);
        _isCommitting = true;
        var command = rest is ApplianceStatus.Deployed ? ApplianceCommand.RestDeployed : ApplianceCommand.RestUndeployed;
        return SaveListed(state => state with
        {
            Status = ApplianceLifecycle.Decide(state.Status, command).OrThrow() ?? state.Status,
            Operation = null,
            Ended = new(state.Operation!.Id, outcome),
        });
    }

    /// <summary>Reports the outcome to the operation's record, and only then removes the reminder.</summary>
    private async Task CloseEnded()
    {
        if (State.Ended is { } ended)
        {
            if (_reporter is { } reporter) await reporter.Drain();
            await GrainFactory.Operation(ended.Id).Finish(ended.Outcome);
        }

        if (await this.GetReminder(OperationReminder) is { } reminder) await this.UnregisterReminder(reminder);
    }

    /// <summary>Ensures that the previous operation has completely ended: its record has the outcome, and its run and reminder cannot interfere with the next operation.</summary>
    private async Task Closed()
    {
        await _run;
        await CloseEnded();
    }

    /// <summary>The operation has begun, but exceeds a quota of its enterprise.</summary>
    /// <returns>False if the operation can no longer be refused: it has ended, is past its commit point, or is being undone for another reason.</returns>
    private async Task<bool> Refuse(OperationId operation, Fault fault)
    {
        if (State.Operation is not { Phase: SagaPhase.Forward } running || running.Id != operation || _isCommitting) return false;
        await Abort(new(fault, Cancelled: false));
        return true;
    }

    private async Task Abort(SagaFailure reason)
    {
        // A run begins without a reason to cancel it.
        StartRun();
        _cancelReason ??= reason;
        await _cancel.CancelAsync();
    }

    IGrainFactory ISagaContext.Grains => GrainFactory;

    ICatalogue ISagaContext.Catalogue => catalogue;

    TimeProvider ISagaContext.Time => time;

    TimeSpan ISagaContext.RestartPatience => options.Value.RestartPatience;

    ApplianceState ISagaContext.State => State;

    Task ISagaContext.Commit(Func<ApplianceState, ApplianceState> change)
    {
        _isCommitting = true;
        return SaveListed(change);
    }

    void ISagaContext.Activity(VirtualMachineId machine, string activity, long? bytes) => _reporter!.Machine(machine, activity, bytes);

    void ISagaContext.Moved() => _movedAt = time.GetTimestamp();

    Task ISagaContext.ForMachine(string step, string machine, Func<Task> action) =>
        probe.Around(new(SagaOf(State.Operation!.Kind).Name, step, IsUndo: false, Id.Value, machine), action);

    SagaPhase ISagaJournal.Phase => State.Operation?.Phase ?? SagaPhase.Committed;

    SagaFailure? ISagaJournal.Failure => State.Operation?.Failure;

    Task ISagaJournal.Unwind(SagaFailure failure) => Unwind(failure);

    private Task Unwind(SagaFailure failure)
    {
        _reporter!.Status(OperationStatus.Unwinding, cancellable: false, failure.Fault);
        return SaveListed(state => state with { Operation = state.Operation! with { Phase = SagaPhase.Unwinding, Failure = failure } });
    }

    void ISagaJournal.Step(string step, StepStatus status, string? problem)
    {
        _reporter!.Step(step, status, problem);
        if (_stuck?.Step != step || status is not (StepStatus.Done or StepStatus.Undone)) return;
        _stuck = null;
        if (State.Operation is { } operation) ShowRunning(operation);
    }
}

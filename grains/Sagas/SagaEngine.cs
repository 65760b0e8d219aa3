using Instances.Faults;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;

namespace Instances.Sagas;

/// <summary>Runs sagas. Holds no state: what must survive is in the journal.</summary>
internal sealed partial class SagaEngine(ISagaProbe probe, TimeProvider time, ILogger<SagaEngine> logger)
{
    /// <summary>How often a step that must not be given up is tried in one run, and the pauses between: some 6 s in all.</summary>
    public const int Attempts = 6;

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    /// <summary>Runs the saga from its durable phase to an end. The bodies run on the caller's scheduler.</summary>
    /// <param name="cancel">A request to undo; looked at until the commit point.</param>
    /// <param name="cancelReason">Read once <paramref name="cancel"/> was requested.</param>
    /// <param name="stop">The owner goes away: the run ends where it stands, and another takes it up.</param>
    /// <exception cref="OperationCanceledException">The run was stopped.</exception>
    /// <exception cref="StateWriteException">The owner could not write its state: what is durable is not known, another run takes it up.</exception>
    public async Task<SagaEnd> Run(
        Saga saga, Guid owner, ISagaJournal journal, CancellationToken cancel, Func<SagaFailure> cancelReason, CancellationToken stop)
    {
        if (journal.Phase is SagaPhase.Committed)
        {
            // An earlier run went through them.
            foreach (var step in saga.Steps.Take(saga.CommitIndex + 1)) journal.Step(step.Name, StepStatus.Done);
        }

        if (journal.Phase is SagaPhase.Forward && await GoToCommit(saga, owner, journal, cancel, cancelReason, stop) is { } failure)
            await journal.Unwind(failure);

        return journal.Phase switch
        {
            SagaPhase.Committed => await GoForward(saga, owner, journal, stop),
            SagaPhase.Unwinding => await Unwind(saga, owner, journal, stop) ?? new SagaEnd.Undone(journal.Failure!),
            SagaPhase.Forward => throw new InvalidOperationException($"The commit step of '{saga.Name}' did not commit."),
        };
    }

    /// <returns>Null when it is committed, else why to unwind.</returns>
    private async Task<SagaFailure?> GoToCommit(
        Saga saga, Guid owner, ISagaJournal journal, CancellationToken cancel, Func<SagaFailure> cancelReason, CancellationToken stop)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, stop);
        foreach (var step in saga.Steps.Take(saga.CommitIndex + 1))
        {
            if (cancel.IsCancellationRequested) return cancelReason();
            try
            {
                await DoPatiently(saga, step, owner, journal, either.Token);
            }
            catch (Exception exception) when (exception is not StateWriteException)
            {
                stop.ThrowIfCancellationRequested();

                // The commit may be durable although its step has failed: what is durable decides.
                if (journal.Phase is not SagaPhase.Forward)
                {
                    journal.Step(step.Name, StepStatus.Done);
                    return null;
                }

                // A step that is broken off fails in many ways: its own, or those of the grains that it has called.
                if (cancel.IsCancellationRequested) return cancelReason();
                journal.Step(step.Name, StepStatus.Failed);
                var fault = Faulted(exception);
                LogStepFailed(saga.Name, owner, step.Name, fault.Code, fault.Message);
                return new(fault, Cancelled: false);
            }
        }

        return null;
    }

    private async Task<SagaEnd> GoForward(Saga saga, Guid owner, ISagaJournal journal, CancellationToken stop)
    {
        foreach (var step in saga.Steps.Skip(saga.CommitIndex + 1))
        {
            var fault = await Insist(saga, step, owner, () => Do(saga, step, owner, journal, stop), stop);
            if (fault is not null)
            {
                journal.Step(step.Name, StepStatus.Failed);
                return new SagaEnd.Stuck(step.Name, fault);
            }
        }

        return new SagaEnd.Succeeded();
    }

    /// <returns>Null when everything is undone.</returns>
    private async Task<SagaEnd?> Unwind(Saga saga, Guid owner, ISagaJournal journal, CancellationToken stop)
    {
        // Every step before the commit point may have begun: an undo of one that has not does nothing.
        foreach (var step in saga.Steps.Take(saga.CommitIndex).Reverse())
        {
            if (step.Undo is { } undo)
            {
                var fault = await Insist(saga, step, owner, () => probe.Around(new(saga.Name, step.Name, IsUndo: true, owner), undo), stop);
                if (fault is not null)
                {
                    journal.Step(step.Name, StepStatus.Failed);
                    return new SagaEnd.Stuck(step.Name, fault);
                }

                LogStepUndone(saga.Name, owner, step.Name);
            }

            journal.Step(step.Name, StepStatus.Undone);
        }

        return null;
    }

    private async Task DoPatiently(Saga saga, SagaStep step, Guid owner, ISagaJournal journal, CancellationToken token)
    {
        var until = time.GetUtcNow() + step.Patience;
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            try
            {
                await Do(saga, step, owner, journal, token);
                return;
            }
            catch (Exception exception) when (IsAway(exception) && time.GetUtcNow() + pause < until && !token.IsCancellationRequested)
            {
                LogStepWaits(saga.Name, owner, step.Name, exception.Message);
            }

            await Task.Delay(pause, time, token);
        }
    }

    /// <summary>Somebody who is not there at the moment, not somebody who has tried and failed.</summary>
    private static bool IsAway(Exception exception) =>
        exception is TimeoutException or Orleans.Runtime.OrleansException
        or FaultException { Fault.Code: "host-unavailable" or "grain-unavailable" or Drain.Code };

    private async Task Do(Saga saga, SagaStep step, Guid owner, ISagaJournal journal, CancellationToken token)
    {
        journal.Step(step.Name, StepStatus.Running);
        LogStepBegins(saga.Name, owner, step.Name);
        await probe.Around(new(saga.Name, step.Name, IsUndo: false, owner), () =>
        {
            token.ThrowIfCancellationRequested();
            return step.Do(token);
        });
        LogStepEnds(saga.Name, owner, step.Name);
        journal.Step(step.Name, StepStatus.Done);
    }

    /// <returns>Null when it succeeded, else the last fault.</returns>
    private async Task<Fault?> Insist(Saga saga, SagaStep step, Guid owner, Func<Task> action, CancellationToken stop)
    {
        for (var attempt = 1; ; attempt++)
        {
            stop.ThrowIfCancellationRequested();
            try
            {
                await action();
                return null;
            }
            catch (Exception exception) when (exception is not StateWriteException)
            {
                stop.ThrowIfCancellationRequested();
                var fault = Faulted(exception);
                LogStepFailed(saga.Name, owner, step.Name, fault.Code, fault.Message);
                if (attempt == Attempts) return fault;
            }

            await Task.Delay(FirstPause * (1 << (attempt - 1)), time, stop);
        }
    }

    private Fault Faulted(Exception exception)
    {
        if (exception is FaultException { Fault: var fault }) return fault;
        if (exception is TimeoutException or Orleans.Runtime.OrleansException)
            return new(FaultKind.Unavailable, "grain-unavailable", "A part of the datacenter did not answer. Try again.");
        LogUnexpected(exception);
        return new(FaultKind.Internal, "internal-error", "An unexpected error stopped the operation; the log has the details.");
    }
}

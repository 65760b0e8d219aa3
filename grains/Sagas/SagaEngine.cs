using System.Data.Common;
using Instances.Faults;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;

namespace Instances.Sagas;

/// <summary>Runs sagas. It has no state: the durable state is in the journal.</summary>
internal sealed partial class SagaEngine(ISagaProbe probe, TimeProvider time, ILogger<SagaEngine> logger)
{
    /// <summary>How often a step after the commit point, or an undo, is attempted in one run, and the pauses between: about 6 s in all.</summary>
    public const int Attempts = 6;

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    /// <summary>Runs the saga from its durable phase to an end. The bodies run on the caller's scheduler.</summary>
    /// <param name="cancel">A request to undo; checked until the commit point.</param>
    /// <param name="cancelReason">Read once <paramref name="cancel"/> was requested.</param>
    /// <param name="stop">The owner deactivates: the run ends, and another run resumes the saga.</param>
    /// <exception cref="OperationCanceledException">The run was stopped.</exception>
    /// <exception cref="StateWriteException">The owner could not write its state: the durable state is not known, and another run resumes the saga.</exception>
    public async Task<SagaEnd> Run(
        Saga saga, Guid owner, ISagaJournal journal, CancellationToken cancel, Func<SagaFailure> cancelReason, CancellationToken stop)
    {
        if (journal.Phase is SagaPhase.Committed)
        {
            // An earlier run has completed these steps.
            foreach (var step in saga.Steps.Take(saga.CommitIndex + 1)) journal.Step(step.Name, StepStatus.Done);
        }

        if (journal.Phase is SagaPhase.Forward && await GoToCommit(saga, owner, journal, cancel, cancelReason, stop) is { } failure)
            await journal.Unwind(failure);

        return journal.Phase switch
        {
            SagaPhase.Committed => await GoForward(saga, owner, journal, stop),
            SagaPhase.Unwinding => await Unwind(saga, owner, journal, stop),
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

                // The commit may be durable although its step has failed: the durable state decides.
                if (journal.Phase is not SagaPhase.Forward)
                {
                    journal.Step(step.Name, StepStatus.Done);
                    return null;
                }

                // A cancelled step can fail with many exceptions: its own, or those of the grains that it has called.
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
            for (var attempt = 1; ; attempt++)
            {
                if (await Try(saga, step, owner, journal, () => Do(saga, step, owner, journal, stop), stop) is not { } fault) break;
                if (attempt == Attempts) return Stuck(step, fault, journal);
                await Pause(attempt, stop);
            }
        }

        return new SagaEnd.Succeeded();
    }

    /// <summary>Runs all undos in passes: a failed undo does not prevent the others, so that guests on healthy hosts are released at once.</summary>
    private async Task<SagaEnd> Unwind(Saga saga, Guid owner, ISagaJournal journal, CancellationToken stop)
    {
        // Every step before the commit point may have begun: an undo of one that has not does nothing.
        var left = saga.Steps.Take(saga.CommitIndex).Reverse().ToList();
        for (var attempt = 1; ; attempt++)
        {
            (SagaStep Step, Fault Fault)? first = null;
            foreach (var step in left.ToList())
            {
                if (step.Undo is { } undo)
                {
                    if (await Try(saga, step, owner, journal, () => probe.Around(new(saga.Name, step.Name, IsUndo: true, owner), undo), stop) is { } fault)
                    {
                        first ??= (step, fault);
                        continue;
                    }

                    LogStepUndone(saga.Name, owner, step.Name);
                }

                left.Remove(step);
                journal.Step(step.Name, StepStatus.Undone);
            }

            if (first is not { } failed) return new SagaEnd.Undone(journal.Failure!);
            if (attempt == Attempts) return Stuck(failed.Step, failed.Fault, journal);
            await Pause(attempt, stop);
        }
    }

    private static SagaEnd.Stuck Stuck(SagaStep step, Fault fault, ISagaJournal journal)
    {
        journal.Step(step.Name, StepStatus.Failed, fault.Message);
        return new(step.Name, fault);
    }

    private async Task DoPatiently(Saga saga, SagaStep step, Guid owner, ISagaJournal journal, CancellationToken token)
    {
        var since = time.GetTimestamp();
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            try
            {
                await Do(saga, step, owner, journal, token);
                return;
            }
            catch (Exception exception) when (IsAway(exception) && time.GetElapsedTime(since) + pause < step.Patience && !token.IsCancellationRequested)
            {
                journal.Step(step.Name, StepStatus.Running, Faulted(exception).Message);
                LogStepWaits(saga.Name, owner, step.Name, exception.Message);
            }

            await Task.Delay(pause, time, token);
        }
    }

    /// <summary>Whether a part of the datacenter is unreachable at the moment, rather than that it tried and failed.</summary>
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

    /// <returns>Null when it succeeded, else why it failed.</returns>
    private async Task<Fault?> Try(Saga saga, SagaStep step, Guid owner, ISagaJournal journal, Func<Task> action, CancellationToken stop)
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
            journal.Step(step.Name, StepStatus.Running, fault.Message);
            return fault;
        }
    }

    private Task Pause(int attempt, CancellationToken stop) => Task.Delay(FirstPause * (1 << (attempt - 1)), time, stop);

    private Fault Faulted(Exception exception)
    {
        if (exception is FaultException { Fault: var fault }) return fault;
        if (exception is TimeoutException or Orleans.Runtime.OrleansException)
            return new(FaultKind.Unavailable, "grain-unavailable", "A part of the datacenter did not answer. Try again.");
        if (exception is DbException refusal) return DatabaseFaults.ToFault(refusal).Fault;
        LogUnexpected(exception);
        return new(FaultKind.Internal, "internal-error", "An unexpected error stopped the operation; the log has the details.");
    }
}

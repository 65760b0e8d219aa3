using Instances.Faults;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;

namespace Instances.Operations;

/// <summary>Reports the progress to an operation's record. Changes during a report are combined into the next one.</summary>
/// <remarks>Belongs to the owner's grain and runs on its scheduler. The next report repairs a lost one.</remarks>
internal sealed partial class OperationReporter(
    IOperationGrain record, IReadOnlyList<string> steps, IReadOnlyList<VirtualMachineProgress> machines, TimeProvider time, ILogger logger)
{
    private readonly List<StepView> _steps = [.. steps.Select(step => new StepView(step, StepStatus.Waiting))];
    private readonly List<VirtualMachineProgress> _machines = [.. machines];
    private OperationStatus _status = OperationStatus.Running;
    private bool _cancellable = true;
    private Fault? _fault;
    private bool _dirty;
    private Task _sending = Task.CompletedTask;

    public OperationProgress Progress => new(_status, [.. _steps], [.. _machines], _cancellable, _fault);

    /// <param name="problem">Why the last attempt failed, if the step is repeated.</param>
    public void Step(string name, StepStatus status, string? problem = null)
    {
        var index = _steps.FindIndex(step => step.Name == name);
        var (now, before) = (time.GetUtcNow(), _steps[index]);
        // The clock may have been set back since the step began.
        _steps[index] = status is StepStatus.Running
            ? before with { Status = status, StartedAt = before.StartedAt ?? now, FinishedAt = null, Problem = problem }
            : before with { Status = status, FinishedAt = before.StartedAt is { } since ? (now > since ? now : since) : null, Problem = problem };
        Changed();
    }

    public void Bytes(string name, long bytes, long? total)
    {
        var index = _steps.FindIndex(step => step.Name == name);
        _steps[index] = _steps[index] with { Bytes = bytes, TotalBytes = total };
        Changed();
    }

    public void Machine(VirtualMachineId id, string activity, long? bytes = null)
    {
        var index = _machines.FindIndex(machine => machine.Id == id);
        if (index < 0) return;
        _machines[index] = _machines[index] with { Activity = activity, Bytes = bytes ?? _machines[index].Bytes };
        Changed();
    }

    public void Status(OperationStatus status, bool cancellable, Fault? fault = null)
    {
        (_status, _cancellable, _fault) = (status, cancellable, fault);
        Changed();
    }

    /// <summary>Waits for the report that is under way.</summary>
    public Task Drain() => _sending;

    private void Changed()
    {
        _dirty = true;
        if (_sending.IsCompleted) _sending = Send();
    }

    private async Task Send()
    {
        while (_dirty)
        {
            _dirty = false;
            try
            {
                await record.Report(Progress);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
            {
                LogReportLost(record.GetPrimaryKey(), exception.Message);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "A progress report of operation {Operation} was lost: {Reason}")]
    private partial void LogReportLost(Guid operation, string reason);
}

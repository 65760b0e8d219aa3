using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Doctor;

internal sealed partial class DoctorGrain
{
    /// <summary>One after the other. A failed remedy does not prevent the others. Sweeps come last, after the removal of orphans.</summary>
    private async Task Carry(IReadOnlyList<Symptom> symptoms)
    {
        var remedies = symptoms.Select(symptom => symptom.Remedy).OfType<Remedy>().Distinct().ToList();
        foreach (var remedy in remedies.OrderBy(remedy => remedy is Remedy.Sweep))
        {
            try
            {
                await Carry(remedy);
                LogCarried(remedy);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
            {
                LogNotCarried(remedy, exception.Message);
            }
        }
    }

    private Task Carry(Remedy remedy) => remedy switch
    {
        Remedy.Sweep => GrainFactory.Library().Sweep(),
        Remedy.RemoveLayer(var host, var layer) => GrainFactory.Host(host).RemoveLayers([layer]),
        Remedy.RemoveOrphan(var host, var machine, var layers) => GrainFactory.Host(host).RemoveOrphan(machine, layers),
        Remedy.Release(var operation) => GrainFactory.Datacenter().Release(operation),
        Remedy.Nudge(var appliance, var operation) => GrainFactory.Appliance(appliance).Nudge(operation),
        Remedy.Close(var operation) => Close(operation),
        Remedy.WriteManifest(var image) => GrainFactory.Image(image).WriteManifest(),
        Remedy.RemoveReminder(var grain, var name, var tag) => reminders.RemoveRow(grain, name, tag),
        Remedy.Resume(var host, var machine) => GrainFactory.Host(host).Power(machine, PowerAction.Resume),
        Remedy.LetGo letGo => LetGo(letGo),
        _ => throw new System.Diagnostics.UnreachableException(),
    };

    private async Task Close(OperationView operation)
    {
        var record = GrainFactory.Operation(operation.Id);
        await (operation.Appliance is { } appliance ? GrainFactory.Appliance(appliance).Nudge(operation.Id) : GrainFactory.Image(operation.Image!.Value).Nudge(operation.Id));

        // The owner reports how it ended, if it knows.
        await Task.Delay(options.Value.Grace, time);
        if (await record.Find() is not { IsFinished: false } open) return;
        var last = new OperationProgress(OperationStatus.Failed, open.Steps, open.VirtualMachines, Cancellable: false);
        await record.Finish(new(OperationStatus.Failed, last, time.GetUtcNow(), new(
            FaultKind.Unavailable, "operation-lost", "The appliance or image of the operation does not know it. Its outcome is unknown: check the current status, and try again."), Result: null));
    }

    /// <summary>In the order in which a capture is undone.</summary>
    private async Task LetGo(Remedy.LetGo held)
    {
        var host = GrainFactory.Host(held.Host);
        await host.Resume(held.Operation, [held.Machine]);
        await host.Unquiesce(held.Operation, [held.Machine]);
        await host.DiscardNextLayers(held.Operation, [held.Machine]);
        await host.EndCapture(held.Operation, [held.Machine]);
        await host.RemoveLayers([]);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The datacenter was examined: {Findings} findings, {Fixed} of them repaired.")]
    private partial void LogExamined(int findings, int @fixed);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The {Who} did not give its inventory: {Reason}")]
    private partial void LogNotAsked(string who, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Repaired: {Remedy}")]
    private partial void LogCarried(Remedy remedy);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Not repaired: {Remedy}: {Reason}")]
    private partial void LogNotCarried(Remedy remedy, string reason);
}

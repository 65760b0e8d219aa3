using System.Net.Http;
using Instances.Appliances;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Chaos;

/// <summary>A user of one appliance of simulated machines: deploys, captures, undeploys, cancels and repeats, and checks the datacenter's answers.</summary>
internal class Tenant(string name, InstancesClient client, ImageView master, Random random, ChaosReport report)
{
    /// <summary>Larger than the host for real guests.</summary>
    public const long SimulatedMemory = 2L << 30;

    public string Name => name;

    public ApplianceId Appliance { get; private set; }

    /// <summary>The last seen version of every accepted operation.</summary>
    public Dictionary<OperationId, OperationView> Operations { get; } = [];

    protected virtual int Machines => 3;

    protected InstancesClient Client => client;

    protected ImageView Master => master;

    protected Random Random => random;

    protected ChaosReport Report => report;

    public virtual VirtualMachineSpec Spec(string machine, ImageId image) => new(machine, image, MemoryBytes: SimulatedMemory);

    public async Task SetUp()
    {
        Appliance = (await client.CreateAppliance(new(name), default)).Id;
        for (var number = 1; number <= Machines; number++) await client.AddVirtualMachine(Appliance, Spec($"vm{number}", master.Id), default);
    }

    public async Task Work(CancellationToken end)
    {
        while (!end.IsCancellationRequested)
        {
            try
            {
                await Step(end);
            }
            catch (Exception exception) when (IsAway(exception))
            {
                // The client has repeated it, and the answer was that a part is unreachable. Check next whether it was carried out.
                report.Count("request given up: the datacenter was away");
            }
            catch (OperationCanceledException) when (end.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                report.Violation($"{name}: an answer without a reason: {exception.GetType().Name}: {exception.Message}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(random.Next(50, 800)), CancellationToken.None);
        }
    }

    /// <summary>Actions on a deployed appliance besides capturing and undeploying.</summary>
    protected virtual Task Use(IReadOnlyList<VirtualMachineView> machines, CancellationToken end) =>
        random.Next(2) == 0 ? client.Power(machines[random.Next(machines.Count)].Id, PowerAction.Reset, end) : Task.CompletedTask;

    /// <summary>Called before a capture, with the machines to capture.</summary>
    protected virtual Task<object?> Remember(IReadOnlyList<VirtualMachineView> machines, CancellationToken end) => Task.FromResult<object?>(null);

    /// <summary>Called when a capture has succeeded.</summary>
    protected virtual void Captured(OperationView operation, object? remembered)
    {
    }

    private async Task Step(CancellationToken end)
    {
        var appliance = await client.GetAppliance(Appliance, end);
        if (appliance.Operation is { } running)
        {
            // An operation whose answer was lost.
            await Follow(await client.GetOperation(running, end), before: null, end);
            return;
        }

        var before = new Scene(appliance.Status, await client.ListVirtualMachines(Appliance, end));
        switch (appliance.Status, random.Next(10))
        {
            case (ApplianceStatus.Undeployed, _):
                await Follow(await client.Deploy(Appliance, end), before, end);
                break;
            case (ApplianceStatus.Deployed, < 2):
                await Follow(await client.Undeploy(Appliance, end), before, end);
                break;
            case (ApplianceStatus.Deployed, < 5):
                await Use(before.Machines, end);
                break;
            case (ApplianceStatus.Deployed, _):
                await Capture(before, end);
                break;
            default:
                report.Count("seen in between");
                break;
        }
    }

    private async Task Capture(Scene before, CancellationToken end)
    {
        var remembered = await Remember(before.Machines, end);
        IReadOnlyList<VirtualMachineId>? some = random.Next(3) == 0 ? [before.Machines[random.Next(before.Machines.Count)].Id] : null;
        var command = new CreateInstanceCommand(
            some, UpdateImages: random.Next(3) > 0, random.Next(3) == 0 ? Quiesce.Freeze : Quiesce.None, Undeploy: random.Next(2) == 0);
        var ended = await Follow(await client.CreateInstance(Appliance, command, end), before, end);
        if (ended is { Status: OperationStatus.Succeeded }) Captured(ended, remembered);
    }

    /// <summary>Watches an operation to its end, or cancels it, and checks that the appliance matches the operation's outcome.</summary>
    private async Task<OperationView?> Follow(OperationView operation, Scene? before, CancellationToken end)
    {
        Operations[operation.Id] = operation;
        if (operation.Kind is not OperationKind.Undeploy && random.Next(6) == 0) await TryCancel(operation, end);
        var ended = await client.WaitFor(operation, view => Operations[view.Id] = view, end);
        Operations[ended.Id] = ended;
        report.Count($"operation: {ended.Kind} {ended.Status}{(ended.Fault is { } fault ? $" ({fault.Code})" : "")}");
        if (before is not null && ended.Status is OperationStatus.Failed or OperationStatus.Cancelled) await ExpectUnchanged(before!, ended, end);
        return ended;
    }

    private async Task TryCancel(OperationView operation, CancellationToken end)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(random.Next(0, 400)), CancellationToken.None);
        try
        {
            await client.Cancel(operation.Id, end);
        }
        catch (ProblemException problem) when (problem.Code is "operation-past-commit" or "operation-finished")
        {
            report.Count("cancel: too late");
        }
    }

    private async Task ExpectUnchanged(Scene before, OperationView ended, CancellationToken end)
    {
        var appliance = await client.GetAppliance(Appliance, end);
        var machines = await client.ListVirtualMachines(Appliance, end);
        if (appliance.Status != before.Status)
            report.Violation($"{name}: {ended.Kind} {ended.Id} ended as {ended.Status}, and the appliance is {appliance.Status} instead of {before.Status}");
        foreach (var (was, now) in before.Machines.Zip(machines))
        {
            if (was.Image != now.Image) report.Violation($"{name}: {ended.Kind} {ended.Id} ended as {ended.Status}, and {now.Name} has another image");
        }
    }

    private static bool IsAway(Exception exception) =>
        exception is HttpRequestException or IOException
        || exception is ProblemException { Status: System.Net.HttpStatusCode.ServiceUnavailable or System.Net.HttpStatusCode.GatewayTimeout or System.Net.HttpStatusCode.InsufficientStorage }
        // A request that was thought lost was carried out meanwhile, or a machine restarts.
        || exception is ProblemException { Status: System.Net.HttpStatusCode.Conflict };

    private sealed record Scene(ApplianceStatus Status, IReadOnlyList<VirtualMachineView> Machines);
}

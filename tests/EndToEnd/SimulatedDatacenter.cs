using Instances.Appliances;
using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Two control silos, two simulated hosts and two gateways, each a process, with a master image to deploy. Each test of the collection leaves all of them running.</summary>
[CollectionDefinition(nameof(SimulatedDatacenter))]
public sealed class SimulatedDatacenter : IAsyncLifetime, ICollectionFixture<SimulatedDatacenter>
{
    private readonly Func<int, string[]> _control;
    private ProcessCluster? _cluster;
    private ImageView _master = null!;

    public SimulatedDatacenter()
        : this(_ => [])
    {
    }

    /// <param name="control">Configuration of the control silo of a number, from 1.</param>
    internal SimulatedDatacenter(Func<int, string[]> control) => _control = control;

    internal ProcessCluster Cluster => _cluster!;

    public async ValueTask InitializeAsync()
    {
        _cluster = await ProcessCluster.Start(controls: 2, [new("host-1"), new("host-2")], control: _control);
        _master = await Cluster.Client.ImportGuest();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null) await _cluster.DisposeAsync();
    }

    /// <summary>An appliance of two virtual machines that run.</summary>
    internal async Task<ApplianceId> Deployed(string name)
    {
        var appliance = await Cluster.Client.CreateAppliance(new(name), default);
        foreach (var machine in new[] { "web", "db" }) await Cluster.Client.AddVirtualMachine(appliance.Id, Guest.Spec(machine, _master.Id), default);
        await Cluster.Client.Succeeds(await Cluster.Client.Deploy(appliance.Id, default));
        return appliance.Id;
    }
}

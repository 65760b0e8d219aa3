using Instances.Appliances;
using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Two control silos, simulated hosts and gateways (two of each in the collection), each a process, with a master image to deploy. Each test of the collection leaves all of them running.</summary>
[CollectionDefinition(nameof(SimulatedDatacenter))]
public sealed class SimulatedDatacenter : IAsyncLifetime, ICollectionFixture<SimulatedDatacenter>
{
    private readonly int _hosts;
    private readonly int _gateways;
    private readonly Func<int, string[]> _control;
    private ProcessCluster? _cluster;
    private ImageView _master = null!;

    public SimulatedDatacenter()
        : this(hosts: 2, gateways: 2, _ => [])
    {
    }

    /// <param name="control">Configuration of the control silo of a number, from 1.</param>
    internal SimulatedDatacenter(int hosts, int gateways, Func<int, string[]> control) => (_hosts, _gateways, _control) = (hosts, gateways, control);

    internal ProcessCluster Cluster => _cluster!;

    public async ValueTask InitializeAsync()
    {
        _cluster = await ProcessCluster.Start(controls: 2, [.. Enumerable.Range(1, _hosts).Select(number => new ClusterHost($"host-{number}"))], _gateways, _control);
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

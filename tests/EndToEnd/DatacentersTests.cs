using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Instances.Appliances;
using Instances.Client;
using Instances.Hosting;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Two datacenters, each one process with a database of its own, and two gateways that serve both.</summary>
public sealed class DatacentersTests(ITestOutputHelper output) : IAsyncLifetime
{
    private readonly Testing.DataFolder _folder = new();
    private readonly Dictionary<string, ClusterProcess> _silos = [];
    private readonly List<ClusterProcess> _gateways = [];

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var clients = new Dictionary<string, int> { ["east"] = Ports.Free(), ["west"] = Ports.Free() };
        foreach (var (name, client) in clients)
        {
            _silos[name] = Process(name, "silo", "Instances.Silo.dll", port =>
            [
                "--data", Path.Combine(_folder, name), "--port", $"{port}", $"--Silo:Datacenter={name}", $"--Silo:ClientPort={client}", "--Host:Hypervisor=simulated",
            ]);
        }

        foreach (var number in (int[])[1, 2])
        {
            _gateways.Add(Process($"gateway-{number}", "api-gateway/server", "Instances.ApiGateway.dll", port =>
                ["--urls", $"http://127.0.0.1:{port}", .. clients.Select(datacenter => $"--Datacenters:{datacenter.Key}:Gateways:0=127.0.0.1:{datacenter.Value}")]));
        }

        foreach (var process in All) process.Start();
        foreach (var process in All) await process.Ready();
        foreach (var gateway in _gateways) await Eventually.Holds(async () => await Reachable(gateway) is "east, west", $"{gateway.Name} serves both");
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in All) await process.DisposeAsync();
        await _folder.DisposeAsync();
    }

    [Fact]
    public async Task Datacenters_OfWhichOneStops_WorkByThemselves()
    {
        var shops = new Dictionary<string, ApplianceId>();
        foreach (var (name, gateway) in _silos.Keys.Zip(_gateways)) shops[name] = await MainJob(Client(gateway, name));
        Assert.Equal("east", await Reachable(_silos["east"]));

        await _silos["west"].Stop();

        foreach (var gateway in _gateways)
        {
            await Eventually.Holds(async () => await Reachable(gateway) is "east", $"{gateway.Name} sees that west is gone");
            using var http = new HttpClient { BaseAddress = gateway.Address };
            using var answer = await http.GetAsync($"api/v1/datacenters/west/appliances/{shops["west"]}", Stop);
            var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Stop);
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "datacenter-unavailable"), (answer.StatusCode, problem.GetProperty("code").GetString()));
            Assert.Contains("'west'", problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
            var east = Client(gateway, "east");
            await east.Succeeds(await east.Undeploy(shops["east"], Stop));
            await east.Succeeds(await east.Deploy(shops["east"], Stop));
        }

        await Refuses("west", "belongs to the datacenter 'west', and Silo:Datacenter is 'east'");
        Assert.DoesNotContain("   at ", await Refuses("east", $"{Path.Combine(_folder, "east")} is in use by another process (pid "), StringComparison.Ordinal);
        Assert.Equal((2, 0), (await Doctor(_gateways[0]), await Doctor(_silos["east"])));

        _silos["west"].Start();
        await _silos["west"].Ready();
        var clock = Stopwatch.StartNew();
        foreach (var gateway in _gateways)
            await Eventually.Holds(async () => await Reachable(gateway) is "east, west" && (await Client(gateway, "west").GetAppliance(shops["west"], Stop)).Status is ApplianceStatus.Deployed, "west is served again");
        output.WriteLine($"Both gateways served west {clock.Elapsed.TotalSeconds:0.0} s after its return.");
        var west = Client(_gateways[0], "west");
        await west.Succeeds(await west.CreateInstance(shops["west"], new(), Stop));
    }

    /// <summary>The exit code of a doctor who is told no datacenter.</summary>
    private static async Task<int> Doctor(ClusterProcess asked) =>
        (await SiloProgram.RunHere((output, errors) => DoctorCommand.Run(asked.Address, null, fix: false, json: false, output, errors, Stop))).Code;

    /// <summary>A silo of the datacenter east on a data folder that is not for it.</summary>
    /// <returns>All that it said.</returns>
    private async Task<string> Refuses(string folder, string reason)
    {
        var (code, said) = await SiloProgram.Run("--data", Path.Combine(_folder, folder), "--port", "0", "--Silo:Datacenter=east", "--Host:Hypervisor=simulated");

        Assert.Equal(1, code);
        Assert.Contains(reason, said, StringComparison.Ordinal);
        return said;
    }

    private IEnumerable<ClusterProcess> All => _silos.Values.Concat(_gateways);

    /// <summary>An appliance of two machines: deployed, captured, and deployed again on what was captured.</summary>
    private static async Task<ApplianceId> MainJob(InstancesClient client)
    {
        var master = await client.ImportGuest();
        var appliance = await client.CreateAppliance(new("shop"), Stop);
        foreach (var name in (string[])["web", "db"]) await client.AddVirtualMachine(appliance.Id, Guest.Spec(name, master.Id), Stop);
        await client.Succeeds(await client.Deploy(appliance.Id, Stop));
        var captured = await client.Succeeds(await client.CreateInstance(appliance.Id, new(UpdateImages: true), Stop));
        Assert.Equal(2, captured.Result!.Instances!.Count);
        await client.Succeeds(await client.Deploy(appliance.Id, Stop));
        Assert.All(await client.ListVirtualMachines(appliance.Id, Stop), machine => Assert.Equal(VirtualMachineStatus.Running, machine.Status));
        return appliance.Id;
    }

    private static InstancesClient Client(ClusterProcess gateway, string datacenter) =>
        new(new HttpClient { BaseAddress = gateway.Address, Timeout = Timeout.InfiniteTimeSpan }, datacenter);

    private static async Task<string> Reachable(ClusterProcess gateway)
    {
        using var http = new HttpClient { BaseAddress = gateway.Address };
        var datacenters = await http.GetFromJsonAsync<JsonElement>("api/v1/datacenters", Stop);
        return string.Join(", ", datacenters.EnumerateArray().Where(view => view.GetProperty("reachable").GetBoolean()).Select(view => view.GetProperty("name").GetString()));
    }

    private ClusterProcess Process(string name, string project, string file, Func<int, string[]> arguments)
    {
        var port = Ports.Free();
        return new(
            name, Path.Combine(Repository.Root, project, "bin", Repository.Configuration, "net10.0", file), new($"http://127.0.0.1:{port}"), Path.Combine(_folder, $"{name}.log"), arguments(port),
            new Dictionary<string, string>());
    }
}

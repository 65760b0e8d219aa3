using Instances.Client;

namespace Instances.Testing;

/// <summary>A host of a cluster of processes.</summary>
/// <param name="Hypervisor"><c>qemu</c> or <c>simulated</c>.</param>
/// <param name="Configuration">As <c>--Section:Key=value</c>.</param>
internal sealed record ClusterHost(string Name, string Hypervisor = "simulated", long MemoryBytes = 1L << 40, string? Folder = null, params string[] Configuration);

/// <summary>The product as a datacenter runs it: gateways, control silos, host silos and a library, each a process, on a real PostgreSQL.</summary>
internal sealed class ProcessCluster : IAsyncDisposable
{
    private readonly DataFolder _folder = new();
    private readonly string _connectionString;
    private readonly HttpClient _http;
    private readonly Func<string, string, IReadOnlyDictionary<string, string>>? _environment;

    private ProcessCluster(
        int controls, IReadOnlyList<ClusterHost> hosts, int gateways, Func<int, string[]> control, string[] everywhere, Func<string, string, IReadOnlyDictionary<string, string>>? environment)
    {
        _environment = environment;
        _connectionString = Database.CreateDatabase();
        var silos = new List<(ClusterProcess Process, int ClientPort)>();
        for (var number = 1; number <= controls; number++)
        {
            // One library: with the first.
            var roles = number == 1 ? "Control,Library" : "Control";
            silos.Add(Silo($"control-{number}", roles, folder: null, [.. everywhere, .. control(number)]));
        }

        foreach (var host in hosts)
        {
            silos.Add(Silo(
                host.Name, "Host", host.Folder, [$"--Host:Hypervisor={host.Hypervisor}", $"--Host:MemoryBytes={host.MemoryBytes}", .. everywhere, .. host.Configuration]));
        }

        Controls = [.. silos.Take(controls).Select(silo => silo.Process)];
        Hosts = [.. silos.Skip(controls).Select(silo => silo.Process)];
        Gateways = [.. Enumerable.Range(1, gateways).Select(number => Gateway($"gateway-{number}", silos.Select(silo => silo.ClientPort)))];
        _http = GatewayPool.CreateClient([.. Gateways.Select(gateway => gateway.Address)]);
        Client = new(_http);
    }

    public PostgreSqlServer Database { get; } = new();

    public IReadOnlyList<ClusterProcess> Controls { get; }

    public IReadOnlyList<ClusterProcess> Hosts { get; }

    public IReadOnlyList<ClusterProcess> Gateways { get; }

    public IEnumerable<ClusterProcess> Silos => Controls.Concat(Hosts);

    public IEnumerable<ClusterProcess> All => Silos.Concat(Gateways);

    /// <summary>A client over all gateways.</summary>
    public InstancesClient Client { get; }

    public string Folder => _folder.Path;

    /// <summary>Deletes all stored states, as if the database were recreated.</summary>
    public async Task EmptyDatabase()
    {
        await using var connection = new Npgsql.NpgsqlConnection(_connectionString);
        await connection.OpenAsync();
        await using var command = new Npgsql.NpgsqlCommand("TRUNCATE OrleansStorage, OrleansRemindersTable, catalogue, database_fact", connection);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Copies the silos' database. No silo may run.</summary>
    public void CopyDatabase(string copy) => Database.CopyDatabase(_connectionString, copy);

    /// <summary>The silos' database and a copy of it change places. No silo may run.</summary>
    public void ExchangeDatabase(string copy) => Database.ExchangeDatabase(_connectionString, copy);

    /// <summary>Keeps the folder for a later inspection.</summary>
    public bool KeepFolder { get; set; } = Environment.GetEnvironmentVariable("INSTANCES_TEST_KEEP") is { Length: > 0 };

    public GuestProcesses Guests => _folder.Guests;

    /// <param name="control">Configuration of the control silo of a number, from 1.</param>
    /// <param name="everywhere">Configuration of every silo.</param>
    /// <param name="environment">Further environment variables of a silo, by the cluster's folder and the silo's name.</param>
    /// <param name="prepare">Called when the addresses are known and nothing runs yet.</param>
    public static async Task<ProcessCluster> Start(
        int controls,
        IReadOnlyList<ClusterHost> hosts,
        int gateways = 2,
        Func<int, string[]>? control = null,
        string[]? everywhere = null,
        Func<string, string, IReadOnlyDictionary<string, string>>? environment = null,
        Action<ProcessCluster>? prepare = null)
    {
        var cluster = new ProcessCluster(controls, hosts, gateways, control ?? (_ => []), everywhere ?? [], environment);
        try
        {
            prepare?.Invoke(cluster);
            foreach (var process in cluster.All) process.Start();
            foreach (var process in cluster.All) await process.Ready();
            await Eventually.Holds(async () => (await cluster.Client.ListHosts(default)).Count == hosts.Count, "all hosts have registered");
            return cluster;
        }
        catch
        {
            // Another program may have taken a port: end the processes that are already running.
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>Another silo with the name of a host, in its own data folder. It is not started, and not ended with the cluster.</summary>
    public ClusterProcess Second(string host) => Silo(host, "Host", DataOf($"{host}-second"), ["--Host:Hypervisor=simulated"]).Process;

    public string DataOf(string silo) => Path.Combine(_folder, silo);

    public async ValueTask DisposeAsync()
    {
        foreach (var process in All.Reverse()) await process.DisposeAsync();
        _http.Dispose();
        Database.Dispose();
        if (KeepFolder) await _folder.EndGuests();
        else await _folder.DisposeAsync();
    }

    private (ClusterProcess Process, int ClientPort) Silo(string name, string roles, string? folder, string[] configuration)
    {
        var data = folder ?? DataOf(name);
        Directory.CreateDirectory(data);
        var (http, silo, client) = (Ports.Free(), Ports.Free(), Ports.Free());
        string[] arguments =
        [
            "--data", data, "--port", $"{http}", $"--Host:Name={name}", $"--Silo:Roles={roles}", $"--Silo:Port={silo}", $"--Silo:ClientPort={client}",
            "--Library:GracePeriod=00:00:00", .. configuration,
        ];
        var environment = new Dictionary<string, string> { ["Storage__Provider"] = "PostgreSql", ["Storage__ConnectionString"] = _connectionString };
        foreach (var (key, value) in _environment?.Invoke(_folder, name) ?? new Dictionary<string, string>()) environment[key] = value;
        return (new(name, Program("silo", "Instances.Silo.dll"), new($"http://127.0.0.1:{http}"), Path.Combine(_folder, $"{name}.log"), arguments, environment), client);
    }

    private ClusterProcess Gateway(string name, IEnumerable<int> clientPorts)
    {
        var address = new Uri($"http://127.0.0.1:{Ports.Free()}");
        string[] arguments = ["--urls", $"{address}", .. clientPorts.Index().Select(port => $"--Datacenters:local:Gateways:{port.Index}=127.0.0.1:{port.Item}")];
        return new(name, Program("api-gateway/server", "Instances.ApiGateway.dll"), address, Path.Combine(_folder, $"{name}.log"), arguments, new Dictionary<string, string>());
    }

    private static string Program(string project, string file) => Path.Combine(Repository.Root, project, "bin", Repository.Configuration, "net10.0", file);
}

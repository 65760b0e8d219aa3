using System.Diagnostics;
using System.Globalization;
using Npgsql;

namespace Instances.Testing;

/// <summary>A PostgreSQL server only for this process, on a loopback port. It ends with the process at the latest.</summary>
internal sealed class PostgreSqlServer : IDisposable
{
    private static readonly Lazy<PostgreSqlServer> s_shared = new(() => new());

    private readonly string _folder = Directory.CreateTempSubdirectory("instances-postgresql-").FullName;
    private readonly string _connectionString;
    private readonly int _port = Ports.Free();
    private int _databases;
    private bool _isRunning;

    public PostgreSqlServer()
    {
        if (Environment.IsPrivilegedProcess) Run("chown", "postgres", _folder);
        Run(Program("initdb"), "--pgdata", Data, "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C");
        Start();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Dispose();
        _connectionString = $"Host=127.0.0.1;Port={_port};Username=postgres;Pooling=false";
    }

    /// <summary>Starts with the first test that needs it.</summary>
    public static PostgreSqlServer Shared => s_shared.Value;

    /// <returns>Its connection string.</returns>
    public string CreateDatabase()
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"test{Interlocked.Increment(ref _databases)}");
        Execute($"CREATE DATABASE {name}");
        return new NpgsqlConnectionStringBuilder(_connectionString) { Database = name, Pooling = true }.ToString();
    }

    /// <summary>Copies a database that nothing is connected to.</summary>
    public void CopyDatabase(string connectionString, string copy) => Execute($"CREATE DATABASE {copy} TEMPLATE {NameOf(connectionString)}");

    /// <summary>Two databases that nothing is connected to get each other's names.</summary>
    public void ExchangeDatabase(string connectionString, string other)
    {
        var name = NameOf(connectionString);
        foreach (var (from, to) in new[] { (name, "spare"), (other, name), ("spare", other) }) Execute($"ALTER DATABASE {from} RENAME TO {to}");
    }

    public void DropDatabase(string connectionString) => Execute($"DROP DATABASE {NameOf(connectionString)} WITH (FORCE)");

    /// <summary>As if the server were down: connections end, and new ones are refused.</summary>
    public void CutOff(string connectionString)
    {
        var name = NameOf(connectionString);
        Execute($"ALTER DATABASE {name} ALLOW_CONNECTIONS false");
        Execute($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    }

    public void LetIn(string connectionString) => Execute($"ALTER DATABASE {NameOf(connectionString)} ALLOW_CONNECTIONS true");

    /// <summary>Tests need a database that survives a crash of the server, not a power cut.</summary>
    public void Start()
    {
        Run(
            Program("pg_ctl"), "start", "--silent", "--wait", "--pgdata", Data, "--log", Path.Combine(_folder, "log"),
            "--options", $"-p {_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={_folder} -c fsync=off -c max_connections=300");
        _isRunning = true;
    }

    /// <summary>Like a crash: connections are cut, and nothing is written at the end.</summary>
    public void Kill()
    {
        _isRunning = false;
        Run(Program("pg_ctl"), "stop", "--silent", "--mode=immediate", "--pgdata", Data);
    }

    public void Dispose()
    {
        if (_isRunning) Kill();
        if (Directory.Exists(_folder)) Directory.Delete(_folder, recursive: true);
    }

    private static string NameOf(string connectionString) => new NpgsqlConnectionStringBuilder(connectionString).Database!;

    private string Data => Path.Combine(_folder, "data");

    private void Execute(string sql)
    {
        using var connection = new NpgsqlConnection(_connectionString + ";Database=postgres");
        connection.Open();
        using var command = new NpgsqlCommand(sql, connection);
        command.ExecuteNonQuery();
    }

    /// <summary>Debian keeps the server's programs beside the path, a folder for each release.</summary>
    private static string Program(string name) =>
        Directory.EnumerateDirectories("/usr/lib/postgresql").Order(StringComparer.Ordinal).Select(folder => Path.Combine(folder, "bin", name)).Last(File.Exists);

    /// <summary>The server refuses to run as root.</summary>
    private static void Run(string program, params string[] arguments)
    {
        string[] prefix = Environment.IsPrivilegedProcess && program.StartsWith('/') ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] : [];
        string[] command = [.. prefix, program, .. arguments];
        using var process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = program.EndsWith("initdb", StringComparison.Ordinal), WorkingDirectory = "/" })!;
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{string.Join(' ', command)} ended with {process.ExitCode}.");
    }
}

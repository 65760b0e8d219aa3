using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Qemu;

/// <summary>The control socket and the guest agent of a QEMU that does what a test says, and a machine that is connected to them. The test's own process stands for QEMU's, or one that may end.</summary>
internal sealed class FakeQemu : IAsyncDisposable
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(200);

    /// <summary>A short name: the paths of Unix sockets have at most 108 characters.</summary>
    private readonly string _folder = Directory.CreateTempSubdirectory("q-").FullName;
    private readonly CancellationTokenSource _end = new();
    private readonly List<Socket> _listeners = [];
    private readonly List<Task> _serving = [];

    private readonly QemuHost _host;
    private System.Diagnostics.Process? _child;
    private Socket? _control;

    private FakeQemu()
    {
        var (top, next) = (LayerId.New(), LayerId.New());
        Next = next;
        Spec = new(VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), "fake", 1, 128L << 20, [new([top], 1L << 20)], [], [], null);
        var options = new QemuOptions { RunFolder = _folder, StartBound = QemuLab.Patience, CommandBound = Short, StopBound = Short, ThawBound = QemuLab.Patience };
        var changes = Channel.CreateUnbounded<MachineObservation>();
        _host = new(options, QemuUsers.SiloUser, MachineCgroups.Find(_folder, []), "tcg", MachineType: null, PathOf, TimeProvider.System, NullLogger.Instance, changes.Writer) { Disks = new(path => Sync(path), DiskTime) };
        Machine = new(_host, Spec);
        Folder = RunFolder.For(_folder, Spec.Id);
        RunFolder.CreateRoot(_folder);
        Folder.Create();
        Folder.WriteMachine(Spec);
        foreach (var layer in new[] { top, next }) File.WriteAllText(PathOf(layer), "");

        string PathOf(LayerId layer) => Path.Combine(_folder, $"{layer}.qcow2");
    }

    public MachineSpec Spec { get; }

    public LayerId Next { get; }

    public RunFolder Folder { get; }

    public QemuMachine Machine { get; private set; }

    public QemuProcess Process { get; private set; }

    /// <summary>The control connection is lost after the answer that is under way.</summary>
    public bool HangsUp { get; set; }

    public bool IsPaused { get; private set; }

    /// <summary>How the host's disk is synced.</summary>
    public Action<string> Sync { get; set; } = UnixFiles.SyncData;

    /// <summary>By this clock a sync of the disk takes no time.</summary>
    public FakeTimeProvider DiskTime { get; } = new();

    /// <summary>Every command on the control socket, in order.</summary>
    public ConcurrentQueue<string> Commands { get; } = new();

    /// <summary>What QEMU answers to a command instead of what it would; no answer at all if that is null.</summary>
    public ConcurrentDictionary<string, Func<Task<string?>>> Instead { get; } = new();

    /// <summary>What the guest agent answers to a command.</summary>
    public ConcurrentDictionary<string, string> Agent { get; } = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <param name="ends">Its process is one that can be ended.</param>
    public static async Task<FakeQemu> Create(bool ends = false)
    {
        var fake = new FakeQemu();
        if (ends) fake._child = System.Diagnostics.Process.Start("sleep", ["infinity"]);
        fake.Listen(RunFolder.QmpSocket, fake.ServeControl);
        fake.Listen(RunFolder.AgentSocket, fake.ServeAgent);
        var pid = fake._child?.Id ?? Environment.ProcessId;
        var start = ulong.Parse((await File.ReadAllTextAsync($"/proc/{pid}/stat", Stop)).Split(") ")[^1].Split(' ')[19], System.Globalization.CultureInfo.InvariantCulture);
        fake.Process = new(pid, start);
        await fake.Machine.Adopt(fake.Process, Stop);
        return fake;
    }

    /// <summary>The silo restarts.</summary>
    public async Task RestartSilo()
    {
        await Machine.DisposeAsync();
        Machine = new(_host, Folder.ReadMachine()!);
        await Machine.Adopt(Process, Stop);
    }

    /// <summary>Its guest has shut down.</summary>
    public async Task End()
    {
        await _control!.SendAsync("{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-shutdown\"}}\n"u8.ToArray(), Stop);
        _child!.Kill();
        await _child.WaitForExitAsync(Stop);
        _control.Shutdown(SocketShutdown.Both);
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await Machine.DisposeAsync();
        foreach (var listener in _listeners) listener.Dispose();
        await Task.WhenAll(_serving);
        _child?.Kill();
        _child?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private void Listen(string name, Func<string, Task<string?>> answer)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(Folder.QemuPath, name)));
        listener.Listen();
        _listeners.Add(listener);
        _serving.Add(Serve(listener, name == RunFolder.QmpSocket ? "{\"QMP\": {}}\n" : "", answer));
    }

    /// <summary>One client at a time, as QEMU does.</summary>
    private async Task Serve(Socket listener, string greeting, Func<string, Task<string?>> answer)
    {
        try
        {
            while (true)
            {
                using var client = await listener.AcceptAsync(_end.Token);
                if (greeting.Length > 0) _control = client;
                try
                {
                    using var reader = new StreamReader(new NetworkStream(client), Encoding.Latin1);
                    await Send(greeting);
                    while (await reader.ReadLineAsync(_end.Token) is { } line)
                    {
                        if (await answer(line) is { } text) await Send(text + "\n");
                        if (greeting.Length == 0 || !HangsUp) continue;
                        HangsUp = false;
                        break;
                    }
                }
                catch (Exception e) when (e is IOException or SocketException)
                {
                    // The machine has closed the connection.
                }

                async Task Send(string text) => await client.SendAsync(Encoding.Latin1.GetBytes(text), SocketFlags.None, _end.Token);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The test has ended.
        }
    }

    private async Task<string?> ServeControl(string line)
    {
        var message = JsonNode.Parse(line)!.AsObject();
        var command = message["execute"]!.GetValue<string>();
        Commands.Enqueue(command);
        if (command is "stop" or "cont") IsPaused = command == "stop";
        var answer = Instead.TryGetValue(command, out var instead) ? await instead() : command switch
        {
            "query-status" => IsPaused ? "{\"status\": \"paused\"}" : "{\"status\": \"running\"}",
            "qom-get" => $"\"{BlockNodes.Format(Spec.Disks[0].Layers[^1])}\"",
            "query-chardev" => "[{\"label\": \"agent\", \"frontend-open\": true}]",
            "human-monitor-command" => "\"\"",
            _ => "{}",
        };
        return answer is null ? null : $"{{\"return\": {answer}, \"id\": {message["id"]!.ToJsonString()}}}";
    }

    private Task<string?> ServeAgent(string line)
    {
        using var document = JsonDocument.Parse(line.TrimStart('\u00FF'));
        var command = document.RootElement.GetProperty("execute").GetString()!;
        return Task.FromResult<string?>(command == "guest-sync-delimited"
            ? $"\u00FF{{\"return\": {document.RootElement.GetProperty("arguments").GetProperty("id")}}}"
            : Agent[command]);
    }
}

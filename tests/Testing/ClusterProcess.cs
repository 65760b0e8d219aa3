using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Instances.Testing;

/// <summary>One process of a cluster, which a test can start, kill, freeze and restart. Its output goes to a file.</summary>
internal sealed class ClusterProcess(string name, string program, Uri address, string log, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment)
    : IAsyncDisposable
{
    private const int SigTerm = 15;
    private const int SigContinue = 18;
    private const int SigStop = 19;

    private static readonly HttpClient Http = new() { Timeout = TimeSpan.FromSeconds(5) };

    private Process? _process;

    public string Name => name;

    public Uri Address => address;

    public string LogPath => log;

    public bool IsRunning => _process is { HasExited: false };

    /// <summary>Only while it runs.</summary>
    public int Id => _process!.Id;

    public bool IsFrozen { get; private set; }

    public void Start()
    {
        if (IsRunning) return;

        // The shell replaces itself by the program, and its output is a file, so that a frozen process blocks no reader.
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$@\" >>\"$0\" 2>&1", log, "dotnet", program, .. arguments]);
        foreach (var (key, value) in environment) start.Environment[key] = value;
        _process = Process.Start(start)!;
        IsFrozen = false;
    }

    /// <summary>SIGKILL.</summary>
    public async Task Kill()
    {
        if (!IsRunning) return;
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>SIGSTOP: it is frozen, and its connections stay open.</summary>
    public void Freeze()
    {
        if (!IsRunning) return;
        IsFrozen = true;
        Signal(SigStop);
    }

    /// <summary>SIGCONT.</summary>
    public void Thaw()
    {
        if (IsRunning && IsFrozen) Signal(SigContinue);
        IsFrozen = false;
    }

    /// <summary>SIGTERM, and waits.</summary>
    public async Task Stop()
    {
        if (!IsRunning) return;
        Thaw();
        Signal(SigTerm);
        using var bound = new CancellationTokenSource(2 * Bounds.Wait);
        await _process!.WaitForExitAsync(bound.Token);
    }

    /// <summary>Waits until it has ended without a signal of the test.</summary>
    public async Task Ended()
    {
        using var bound = new CancellationTokenSource(2 * Bounds.Wait);
        await _process!.WaitForExitAsync(bound.Token);
    }

    public int ExitCode => _process!.ExitCode;

    /// <summary>Waits until it reports that it is ready.</summary>
    public Task Ready() => Eventually.Holds(IsReady, $"{name} is ready; see {log}");

    public async Task<bool> IsReady()
    {
        if (!IsRunning) throw new InvalidOperationException($"{name} ended with {_process?.ExitCode} before it was ready:\n{Tail()}");
        try
        {
            using var answer = await Http.GetAsync(new Uri(address, "readyz"));
            return answer.IsSuccessStatusCode;
        }
        catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException)
        {
            return false;
        }
    }

    public string Tail() => File.Exists(log) ? string.Join('\n', File.ReadLines(log).TakeLast(30)) : "";

    public async ValueTask DisposeAsync()
    {
        await Kill();
        _process?.Dispose();
    }

    private void Signal(int signal) => _ = NativeKill(_process!.Id, signal);

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int NativeKill(int process, int signal);
}

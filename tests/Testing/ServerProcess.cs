using System.Diagnostics;
using System.Net;
using Instances.Client;

namespace Instances.Testing;

/// <summary>The product as a user runs it: in its own process, with its own data folder.</summary>
internal sealed class ServerProcess : IAsyncDisposable
{
    private const int SigTerm = 15;

    private readonly Process _process;
    private readonly HttpClient _http;
    private readonly List<string> _log = [];

    private ServerProcess(Process process, Uri address)
    {
        _process = process;
        _http = new() { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };
        Client = new(_http);
    }

    public InstancesClient Client { get; }

    public HttpClient Http => _http;

    public int Id => _process.Id;

    /// <summary>From the start of the process to the first good answer of <c>readyz</c>.</summary>
    public TimeSpan TimeToReady { get; private set; }

    /// <param name="configuration">As <c>--Section:Key=value</c>.</param>
    public static Task<ServerProcess> Start(string dataFolder, params string[] configuration) => StartAt(Ports.Free(), dataFolder, configuration);

    public static async Task<ServerProcess> StartAt(int port, string dataFolder, params string[] configuration)
    {
        var clock = Stopwatch.StartNew();
        var process = new Process
        {
            StartInfo = new("dotnet",
            [
                Path.Combine(Repository.Root, "silo", "bin", Repository.Configuration, "net10.0", "Instances.Silo.dll"),
                "--data", dataFolder, "--port", $"{port}", "--Library:GracePeriod=00:00:00", .. configuration,
            ])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        var server = new ServerProcess(process, new($"http://127.0.0.1:{port}"));
        process.OutputDataReceived += server.Keep;
        process.ErrorDataReceived += server.Keep;
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        await Eventually.Holds(server.IsReady, $"the server is ready; its log:\n{server.Log}");
        server.TimeToReady = clock.Elapsed;
        return server;
    }

    public string Log
    {
        get
        {
            lock (_log) return string.Join('\n', _log);
        }
    }

    /// <summary>SIGKILL: nothing continues, and nothing is written any more.</summary>
    public async Task Kill()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Waits until it has ended without a signal of the test.</summary>
    public Task Ended(CancellationToken cancellationToken) => _process.WaitForExitAsync(cancellationToken);

    /// <summary>SIGTERM, and waits.</summary>
    public async Task Stop()
    {
        if (!_process.HasExited) NativeKill(_process.Id, SigTerm);
        using var bound = new CancellationTokenSource(Bounds.Wait);
        await _process.WaitForExitAsync(bound.Token);
    }

    /// <summary>Kills the process if it runs: a test that needs an orderly end stops it first.</summary>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) await Kill();
        _http.Dispose();
        _process.Dispose();
    }

    private async Task<bool> IsReady()
    {
        if (_process.HasExited) throw new InvalidOperationException($"The server ended with {_process.ExitCode} before it was ready:\n{Log}");
        try
        {
            using var answer = await _http.GetAsync("readyz");
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private void Keep(object sender, DataReceivedEventArgs line)
    {
        if (line.Data is null) return;
        lock (_log) _log.Add(line.Data);
    }

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "kill")]
    private static extern int NativeKill(int process, int signal);
}

using System.Globalization;
using System.Text;
using System.Text.Json;
using Instances.Problems;

namespace Instances.Operations;

/// <summary>An operation's versions as server-sent events. (The framework's own result writes no comments, which keep a quiet connection open.)</summary>
internal sealed partial class OperationEvents(IOperationGrain grain, long seen) : IResult
{
    public const string ContentType = "text/event-stream";
    public const string Progress = "progress";

    /// <summary>The name of the last event, which shows the finished operation. The reader closes the connection.</summary>
    public const string End = "end";

    /// <summary>Proxies close connections that are quiet for longer, often 60 s.</summary>
    public static readonly TimeSpan HeartbeatInterval = TimeSpan.FromSeconds(15);

    private static readonly byte[] Hello = "retry: 1000\n\n"u8.ToArray();
    private static readonly byte[] Heartbeat = ": heartbeat\n\n"u8.ToArray();

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var services = httpContext.RequestServices;
        using var place = services.GetRequiredService<OperationWatches>().Take();
        var stopping = services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(httpContext.RequestAborted, stopping);
        var response = httpContext.Response;
        response.ContentType = ContentType;
        response.Headers.CacheControl = "no-store";
        // For nginx and similar proxies: pass each event on at once.
        response.Headers["X-Accel-Buffering"] = "no";
        try
        {
            await Write(response, Hello, ending.Token);
            await WriteEvents(response, services.GetRequiredService<TimeProvider>(), ending.Token);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
            // The reader disconnected, or this process stops. The reader can reconnect with its last id.
        }
        catch (Exception exception) when (Interruptions.IsInterruption(exception))
        {
            LogGivenUp(services.GetRequiredService<ILogger<OperationEvents>>(), exception, grain.GetPrimaryKey());
        }
    }

    private async Task WriteEvents(HttpResponse response, TimeProvider clock, CancellationToken cancellationToken)
    {
        await using var versions = OperationVersions.After(grain, seen, clock, cancellationToken).GetAsyncEnumerator(cancellationToken);
        while (true)
        {
            var next = versions.MoveNextAsync().AsTask();
            while (!await ComesWithin(next, clock)) await Write(response, Heartbeat, cancellationToken);
            if (!await next) return;
            await Write(response, Format(versions.Current), cancellationToken);
        }
    }

    private static async Task<bool> ComesWithin(Task next, TimeProvider clock)
    {
        using var waiting = new CancellationTokenSource();
        var first = await Task.WhenAny(next, Task.Delay(HeartbeatInterval, clock, waiting.Token));
        await waiting.CancelAsync();
        return first == next;
    }

    private static byte[] Format(OperationView operation) => Encoding.UTF8.GetBytes(string.Create(
        CultureInfo.InvariantCulture,
        $"id: {operation.Version}\nevent: {(operation.IsFinished ? End : Progress)}\ndata: {JsonSerializer.Serialize(operation, InstancesJson.Options)}\n\n"));

    private static async Task Write(HttpResponse response, byte[] bytes, CancellationToken cancellationToken)
    {
        await response.BodyWriter.WriteAsync(bytes, cancellationToken);
        await response.BodyWriter.FlushAsync(cancellationToken);
    }
}

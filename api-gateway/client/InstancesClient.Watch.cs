using System.Net;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Instances.Operations;

namespace Instances.Client;

public sealed partial class InstancesClient
{
    /// <summary>A gateway sends something every 15 s to a watcher. A gateway that is silent for longer is frozen.</summary>
    internal TimeSpan SilenceBound { get; init; } = TimeSpan.FromSeconds(35);

    /// <summary>The versions of an operation until it has ended. After a broken connection, continues with the next version.</summary>
    public async IAsyncEnumerable<OperationView> Watch(OperationId id, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        long? seen = null;
        for (var attempt = 1; ; attempt++)
        {
            await using var events = Events(id, seen, cancellationToken).GetAsyncEnumerator(cancellationToken);
            while (await HasNext(events, attempt, cancellationToken))
            {
                var operation = events.Current;
                seen = operation.Version;
                attempt = 1;
                yield return operation;
                if (operation.IsFinished) yield break;
            }

            if (attempt >= MaxAttempts) throw new ProblemException(HttpStatusCode.ServiceUnavailable, code: null, $"Watching the operation {id} broke off.");
            await Task.Delay(AttemptDelay, cancellationToken);
        }
    }

    /// <summary>Watches an operation to its end.</summary>
    /// <param name="progress">Called with every version.</param>
    public async Task<OperationView> WaitFor(OperationView operation, Action<OperationView> progress, CancellationToken cancellationToken)
    {
        progress(operation);
        if (operation.IsFinished) return operation;
        await foreach (var version in Watch(operation.Id, cancellationToken))
        {
            operation = version;
            progress(version);
        }

        return operation;
    }

    private static async Task<bool> HasNext(IAsyncEnumerator<OperationView> events, int attempt, CancellationToken cancellationToken)
    {
        try
        {
            return await events.MoveNextAsync();
        }
        catch (Exception exception) when (attempt < MaxAttempts && !cancellationToken.IsCancellationRequested && MayRepeat(exception))
        {
            return false;
        }
    }

    private async IAsyncEnumerable<OperationView> Events(OperationId id, long? seen, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Root}/operations/{id}/events");
        if (seen is { } version) request.Headers.Add("Last-Event-ID", version.ToString(System.Globalization.CultureInfo.InvariantCulture));
        using var beginning = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        beginning.CancelAfter(RequestBound);
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, beginning.Token);
        await Require(response, beginning.Token);
        await using var stream = new SilenceBoundStream(await response.Content.ReadAsStreamAsync(beginning.Token), SilenceBound);
        var parser = SseParser.Create(stream, (_, data) => JsonSerializer.Deserialize<OperationView>(data, InstancesJson.Options)!);
        await foreach (var item in parser.EnumerateAsync(cancellationToken)) yield return item.Data;
    }
}

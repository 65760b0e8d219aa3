using System.Net;
using System.Text.Json;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Transfer;

/// <summary>Asks the gateways of other datacenters for layers. <see cref="LayerClient"/> fetches the bytes, as from a silo.</summary>
internal sealed class LibraryPeers(IOptions<LibraryOptions> options, TimeProvider time) : ILibraryPeers, IDisposable
{
    private const int MaxAnswerBytes = 64 << 10;
    private const int MaxCodeLength = 64;

    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan AnswerBound = TimeSpan.FromSeconds(15);

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = ConnectTimeout,
    });

    public IReadOnlyList<Uri> All { get; } = [.. options.Value.Peers.Select(peer => new Uri(peer.Url.TrimEnd('/')))];

    public async Task<LayerOffer> Offer(Uri peer, LayerId layer, CancellationToken cancellationToken)
    {
        var address = new Uri($"{peer}/library/layers/{layer}");
        using var bound = new CancellationTokenSource(AnswerBound, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(bound.Token, cancellationToken);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, address);
            using var response = await _http.SendAsync(request, either.Token);
            await response.Content.LoadIntoBufferAsync(MaxAnswerBytes, either.Token);
            var answer = await response.Content.ReadAsByteArrayAsync(either.Token);
            if (response.StatusCode is not HttpStatusCode.OK) throw Refused(layer, response.StatusCode, JsonSerializer.Deserialize<Refusal>(answer, InstancesJson.Options));
            return JsonSerializer.Deserialize<LayerView>(answer, InstancesJson.Options) is { Bytes: >= 0, LengthBytes: > 0 } view && view.Id == layer
                ? new(layer, view.Bytes, view.LengthBytes, view.Sha256, Path: "", new($"{address}/content"), Ticket: "")
                : throw Unavailable("it has answered for another layer.");
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw Unavailable($"it did not answer within {AnswerBound.TotalSeconds:0} s.", exception);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or JsonException)
        {
            throw Unavailable($"its answer is not that of a datacenter: {exception.Message}", exception);
        }
    }

    public void Dispose() => _http.Dispose();

    /// <summary>Converts a datacenter's own refusals. Any other answer is from a wrong address, or a temporary failure.</summary>
    private static FaultException Refused(LayerId layer, HttpStatusCode status, Refusal? refusal) => refusal?.Code switch
    {
        "layer-not-found" => FaultException.NotFound("peer-has-none", $"It does not have the layer {layer}."),
        "layer-not-sound" => FaultException.Conflict("peer-has-none", $"Its layer {layer} is corrupt, too."),
        { Length: <= MaxCodeLength } code when code.All(character => char.IsAsciiLetterLower(character) || character == '-') => Unavailable($"it answered {(int)status} {code}."),
        _ => Unavailable($"it answered {(int)status}."),
    };

    private static FaultException Unavailable(string reason, Exception? cause = null) => FaultException.Unavailable(
        "peer-unavailable", $"The other datacenter cannot be asked: {reason} Check that it is running, and that its URL in Library:Peers is right.", cause);

    private sealed record Refusal(string? Code);
}

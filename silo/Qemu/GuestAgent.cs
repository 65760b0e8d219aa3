using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Instances.Qemu;

/// <summary>A connection to the guest's agent. The agent runs in the guest: its answers are checked and bounded, and it may never answer.</summary>
internal sealed class GuestAgent : IAsyncDisposable
{
    private const int MaxLineBytes = 64 << 10;
    private const int MaxReasonCharacters = 200;
    private const byte Delimiter = 0xFF;

    private readonly NetworkStream _stream;
    private readonly PipeReader _reader;

    private GuestAgent(Socket socket)
    {
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = PipeReader.Create(_stream);
    }

    /// <summary>Connects, and skips data of earlier connections, which the agent does not distinguish.</summary>
    /// <exception cref="QmpException">The socket does not exist, or the answer is not from an agent.</exception>
    /// <exception cref="OperationCanceledException">Also if the agent does not answer in time: the caller sets the bound.</exception>
    public static async Task<GuestAgent> Connect(string folder, string socketName, CancellationToken cancellationToken)
    {
        var agent = new GuestAgent(await UnixSocket.Connect(folder, socketName, cancellationToken));
        try
        {
            await agent.Synchronize(cancellationToken);
            return agent;
        }
        catch
        {
            await agent.DisposeAsync();
            throw;
        }
    }

    /// <returns>How many file systems are frozen.</returns>
    public async Task<int> Freeze(CancellationToken cancellationToken) =>
        await Execute("guest-fsfreeze-freeze", cancellationToken) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var count) ? count : 0;

    /// <summary>Does nothing if none is frozen.</summary>
    public Task Thaw(CancellationToken cancellationToken) => Execute("guest-fsfreeze-thaw", cancellationToken);

    public async Task<bool> IsFrozen(CancellationToken cancellationToken) =>
        await Execute("guest-fsfreeze-status", cancellationToken) is { ValueKind: JsonValueKind.String } status && status.ValueEquals("frozen");

    /// <summary>Sets the guest's system clock and its hardware clock.</summary>
    public Task SetTime(DateTimeOffset now, CancellationToken cancellationToken) =>
        Execute("guest-set-time", cancellationToken, string.Create(CultureInfo.InvariantCulture, $"{{\"time\":{(now - DateTimeOffset.UnixEpoch).Ticks * 100}}}"));

    public async ValueTask DisposeAsync()
    {
        await _reader.CompleteAsync();
        await _stream.DisposeAsync();
    }

    private async Task Synchronize(CancellationToken cancellationToken)
    {
        var token = Random.Shared.Next();
        var text = string.Create(CultureInfo.InvariantCulture, $"{{\"execute\":\"guest-sync-delimited\",\"arguments\":{{\"id\":{token}}}}}\n");
        // The delimiter before the command ends any partial input in the agent's parser.
        await Write([Delimiter, .. Encoding.UTF8.GetBytes(text)], cancellationToken);
        while (true)
        {
            // Ignore data between two delimiters, and data that the agent sent before it saw the first one.
            var line = await ReadLineBytes(cancellationToken);
            var start = Array.LastIndexOf(line, Delimiter) + 1;
            if (start > 0 && TryParse(new(line, start, line.Length - start)) is { } answer && answer.TryGetProperty("return", out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id == token) return;
        }
    }

    private async Task<JsonElement> Execute(string command, CancellationToken cancellationToken, string arguments = "{}")
    {
        await Write(Encoding.UTF8.GetBytes($"{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n"), cancellationToken);
        var answer = TryParse(new(await ReadLineBytes(cancellationToken))) ?? throw new QmpException("The guest agent's answer is invalid.");
        if (answer.TryGetProperty("return", out var value)) return value;
        throw new QmpException(answer.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.Object && error.TryGetProperty("desc", out var text)
            ? $"The guest agent says: {ForeignText.Clean(TextOf(text), MaxReasonCharacters)}"
            : "The guest agent's answer is invalid.");
    }

    private async Task Write(byte[] bytes, CancellationToken cancellationToken)
    {
        try
        {
            await _stream.WriteAsync(bytes, cancellationToken);
        }
        catch (IOException e)
        {
            throw new QmpException("The connection to the guest agent is lost.", isLost: true, e);
        }
    }

    private async Task<byte[]> ReadLineBytes(CancellationToken cancellationToken)
    {
        long seen = 0;
        while (true)
        {
            var buffer = await Receive(seen, cancellationToken);
            if (buffer.PositionOf((byte)'\n') is { } end)
            {
                var line = buffer.Slice(0, end).ToArray();
                _reader.AdvanceTo(buffer.GetPosition(1, end));
                return line;
            }

            if (buffer.Length > MaxLineBytes) throw new QmpException("The guest agent's answer is too long.", isLost: true);
            seen = buffer.Length;
            _reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <param name="seen">How much of the buffer was examined before.</param>
    private async Task<ReadOnlySequence<byte>> Receive(long seen, CancellationToken cancellationToken)
    {
        try
        {
            var result = await _reader.ReadAsync(cancellationToken);
            return result.IsCompleted && result.Buffer.Length == seen ? throw new QmpException("The connection to the guest agent is lost.", isLost: true) : result.Buffer;
        }
        catch (IOException e)
        {
            throw new QmpException("The connection to the guest agent is lost.", isLost: true, e);
        }
    }

    /// <summary>Null if the line is not a JSON object.</summary>
    private static JsonElement? TryParse(ReadOnlySequence<byte> line)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            return document.RootElement.ValueKind == JsonValueKind.Object ? document.RootElement.Clone() : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>.NET rejects a string with half of a surrogate pair.</summary>
    private static string TextOf(JsonElement value)
    {
        try
        {
            return value.ToString();
        }
        catch (InvalidOperationException)
        {
            return value.GetRawText();
        }
    }
}

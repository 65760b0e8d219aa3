using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;

namespace Instances.Qemu;

/// <param name="Data">Undefined if the event has none.</param>
internal readonly record struct QmpEvent(string Name, JsonElement Data);

/// <summary>A connection to QEMU's control socket (QMP). Commands may be given from several threads; QEMU serves one connection at a time.</summary>
internal sealed class QmpClient : IAsyncDisposable
{
    // The longest answer lists the nodes of 15 disks.
    public const int MaxLineBytes = 4 << 20;
    private const int MaxReasonCharacters = 1000;
    private const int MaxEvents = 256;
    private static readonly JsonElement NoData = JsonElement.Parse("{}");

    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly PipeReader _reader;
    private readonly TimeSpan _commandBound;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _write = new(1);
    private readonly ConcurrentDictionary<string, TaskCompletionSource<JsonElement>> _pending = new();
    private readonly CancellationTokenSource _closing = new();

    // Events are only hints to query the state: if too many wait, the oldest are dropped.
    private readonly Channel<QmpEvent> _events =
        Channel.CreateBounded<QmpEvent>(new BoundedChannelOptions(MaxEvents) { FullMode = BoundedChannelFullMode.DropOldest, SingleWriter = true });

    private readonly TaskCompletionSource _gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _reading = Task.CompletedTask;
    private long _lastId;
    private volatile bool _closed;
    private string? _lostBecause;

    private QmpClient(Socket socket, TimeSpan commandBound, TimeProvider time)
    {
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = PipeReader.Create(_stream);
        _commandBound = commandBound;
        _time = time;
    }

    /// <summary>Completes when QEMU has closed the connection, after its last event.</summary>
    public ChannelReader<QmpEvent> Events => _events.Reader;

    /// <summary>Completes when the connection is closed, whether or not its events were read.</summary>
    public Task Closed => _gone.Task;

    /// <summary>Why QEMU ends, if it has reported it: <c>guest-shutdown</c>, <c>host-qmp-quit</c>, <c>host-signal</c>.</summary>
    public string? ShutdownReason { get; private set; }

    /// <summary>Connects, and waits for the greeting, which comes when QEMU has set the machine up and no other client is connected.</summary>
    /// <param name="folder">Of the socket, at any depth.</param>
    /// <exception cref="QmpException">Nothing listens on the socket, or QEMU ended.</exception>
    /// <exception cref="OperationCanceledException">Also if the greeting does not arrive in time: the caller sets the bound.</exception>
    public static async Task<QmpClient> Connect(string folder, string socketName, TimeSpan commandBound, TimeProvider time, CancellationToken cancellationToken)
    {
        var client = new QmpClient(await UnixSocket.Connect(folder, socketName, cancellationToken), commandBound, time);
        try
        {
            var greeting = await client.ReadLine(cancellationToken) ?? throw new QmpException("QEMU closed its control socket.", isLost: true);
            if (!greeting.TryGetProperty("QMP", out _)) throw new QmpException("The control socket is not QEMU's.", isLost: true);
            client._reading = client.Read();
            await client.Execute("qmp_capabilities", null, cancellationToken);
            return client;
        }
        catch (Exception e)
        {
            await client.DisposeAsync();
            if (e is IOException or JsonException) throw new QmpException(e.Message, isLost: true, e);
            throw;
        }
    }

    /// <returns>The value of <c>return</c>.</returns>
    public async Task<JsonElement> Execute(string command, JsonObject? arguments = null, CancellationToken cancellationToken = default)
    {
        var id = Interlocked.Increment(ref _lastId).ToString(CultureInfo.InvariantCulture);
        var answer = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[id] = answer;
        try
        {
            var message = new JsonObject { ["execute"] = command, ["id"] = id };
            if (arguments is not null) message["arguments"] = arguments;
            await Send(message, cancellationToken);
            // If the connection closes after this line, the answer's source is completed with the error.
            if (_closed) throw Lost();
            return await answer.Task.WaitAsync(_commandBound, _time, cancellationToken);
        }
        catch (TimeoutException e)
        {
            // It is not known whether the command was carried out. So this connection is not used again, and the machine's watch queries the state on a new one.
            Close();
            throw new QmpException($"QEMU did not answer '{command}' within {_commandBound.TotalSeconds:0.#} s.", isLost: true, e);
        }
        finally
        {
            _pending.TryRemove(id, out _);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync();
        await _reading;
        Close();
        await _reader.CompleteAsync();
        await _stream.DisposeAsync();
    }

    private async Task Send(JsonObject message, CancellationToken cancellationToken)
    {
        var line = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(line)) message.WriteTo(writer);
        line.Write("\n"u8);
        await _write.WaitAsync(cancellationToken);
        try
        {
            // Do not cancel in the middle: half a command would corrupt the next one.
            await _stream.WriteAsync(line.WrittenMemory, _closing.Token);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException)
        {
            throw Lost(e);
        }
        finally
        {
            _write.Release();
        }
    }

    private async Task Read()
    {
        try
        {
            while (await ReadLine(_closing.Token) is { } line) Dispatch(line);
        }
        catch (Exception e)
        {
            // Data that is not QMP ends the connection. The machine's watch then checks the machine.
            _lostBecause ??= e is OperationCanceledException or IOException ? null : $"QEMU sent data that is not QMP ({e.Message})";
        }

        Close();
    }

    private void Close()
    {
        _closed = true;
        _socket.Dispose();
        _events.Writer.TryComplete();
        _gone.TrySetResult();
        foreach (var answer in _pending.Values) answer.TrySetException(Lost());
    }

    private void Dispatch(JsonElement line)
    {
        if (line.TryGetProperty("event", out var name))
        {
            var data = line.TryGetProperty("data", out var value) ? value : NoData;
            if (data.ValueKind != JsonValueKind.Object) throw new JsonException("an event's data is not an object");
            if (name.ValueEquals("SHUTDOWN")) ShutdownReason = data.GetProperty("reason").GetString();
            _events.Writer.TryWrite(new(name.GetString() ?? throw new JsonException("an event's name is null"), data));
            return;
        }

        var id = line.GetProperty("id").GetString() ?? throw new JsonException("an answer's id is null");
        // The caller has given up the command meanwhile.
        if (!_pending.TryGetValue(id, out var answer)) return;
        if (line.TryGetProperty("error", out var error)) answer.TrySetException(new QmpException(ForeignText.Clean(error.GetProperty("desc").GetString() ?? "QEMU refused.", MaxReasonCharacters)));
        else answer.TrySetResult(line.GetProperty("return"));
    }

    private async Task<JsonElement?> ReadLine(CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await _reader.ReadAsync(cancellationToken);
            var buffer = result.Buffer;
            if (buffer.PositionOf((byte)'\n') is { } end)
            {
                var line = buffer.Slice(0, end);
                using var document = JsonDocument.Parse(line);
                var element = document.RootElement.Clone();
                _reader.AdvanceTo(buffer.GetPosition(1, end));
                return element.ValueKind == JsonValueKind.Object ? element : throw new JsonException("A message is not an object.");
            }

            if (result.IsCompleted) return null;
            if (buffer.Length > MaxLineBytes) throw new JsonException($"A message is longer than {MaxLineBytes} bytes.");
            _reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    private QmpException Lost(Exception? cause = null) =>
        new(_lostBecause is { } reason ? $"The connection to QEMU is lost: {reason}." : "The connection to QEMU is lost.", isLost: true, cause);
}

using System.Net.Sockets;
using System.Text;
using Xunit;

namespace Instances.Qemu;

/// <summary>The other end of a Unix socket, scripted by a test.</summary>
internal sealed class FakeSocket : IDisposable
{
    public const string Name = "fake.sock";

    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private Socket? _client;
    private StreamReader? _reader;

    public FakeSocket()
    {
        Directory.CreateDirectory(Folder);
        _listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(Folder, Name)));
        _listener.Listen();
    }

    public string Folder { get; } = Path.Combine(Path.GetTempPath(), $"fake-{Guid.NewGuid():N}");

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async Task Accept()
    {
        _client = await _listener.AcceptAsync(Stop);
        _reader = new(new NetworkStream(_client), Encoding.Latin1);
    }

    public async Task<string> Receive() => await _reader!.ReadLineAsync(Stop) ?? throw new EndOfStreamException();

    public async Task Send(string text) => await _client!.SendAsync(Encoding.Latin1.GetBytes(text), SocketFlags.None, Stop);

    public void Close() => _client!.Dispose();

    public void Dispose()
    {
        _client?.Dispose();
        _listener.Dispose();
        Directory.Delete(Folder, recursive: true);
    }
}

using System.Net;
using System.Net.Sockets;

namespace Instances.Library.Transfer;

/// <summary>A proxy between two silos: counts the bytes in both directions, and cuts connections on request of a test.</summary>
internal sealed class BytePipe : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;
    private long _bytes;
    private long _breakAt = long.MaxValue;
    private bool _breaksForGood;

    public BytePipe()
    {
        _listener.Start();
        _accepting = Accept();
    }

    public string Address => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    /// <summary>Where it leads.</summary>
    public Uri? To { get; set; }

    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Cuts every connection after this number of further bytes.</summary>
    /// <returns>Completes when that has happened.</returns>
    public Task BreakAfter(long bytes, bool staysBroken = false)
    {
        _breaksForGood = staysBroken;
        Broken = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Interlocked.Exchange(ref _breakAt, Bytes + bytes);
        return Broken.Task;
    }

    /// <summary>Connections are closed as soon as they are made.</summary>
    public bool StaysBroken { get; set; }

    private TaskCompletionSource? Broken { get; set; }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _accepting;
        _stop.Dispose();
    }

    private async Task Accept()
    {
        try
        {
            while (true) _ = Serve(await _listener.AcceptTcpClientAsync(_stop.Token));
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException)
        {
            // The test ends.
        }
    }

    private async Task Serve(TcpClient client)
    {
        using (client)
        using (var server = new TcpClient())
        {
            try
            {
                if (StaysBroken) return;
                await server.ConnectAsync(To!.Host, To.Port, _stop.Token);
                await Task.WhenAny(Copy(client.GetStream(), server.GetStream()), Copy(server.GetStream(), client.GetStream()));
            }
            catch (Exception exception) when (exception is IOException or SocketException or OperationCanceledException)
            {
                // One of the two sides has disconnected.
            }
        }
    }

    private async Task Copy(NetworkStream from, NetworkStream to)
    {
        var buffer = new byte[16 << 10];
        for (int read; (read = await from.ReadAsync(buffer, _stop.Token)) > 0;)
        {
            // A client may hold a second connection, which it has made before.
            if (StaysBroken) return;
            if (Interlocked.Add(ref _bytes, read) >= Interlocked.Read(ref _breakAt))
            {
                Interlocked.Exchange(ref _breakAt, long.MaxValue);
                StaysBroken = _breaksForGood;
                Broken!.TrySetResult();
                return;
            }

            await to.WriteAsync(buffer.AsMemory(0, read), _stop.Token);
        }
    }
}

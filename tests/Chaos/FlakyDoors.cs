using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Instances.Chaos;

/// <summary>A proxy between silos' data planes and their readers: cuts transfers, or slows them down.</summary>
internal sealed class FlakyDoors : IAsyncDisposable
{
    private const int SlowBytes = 16 << 10;

    private static readonly TimeSpan SlowPause = TimeSpan.FromMilliseconds(40);

    private readonly ConcurrentDictionary<string, Door> _doors = new();

    public bool IsSlow { get; set; }

    /// <summary>Opens a door for a silo that is not started yet.</summary>
    /// <returns>The configuration that leads others through it.</returns>
    public string Open(string silo)
    {
        var door = _doors[silo] = new(this);
        return $"--DataPlane:Address=http://127.0.0.1:{door.Port}";
    }

    public void LeadTo(string silo, Uri address) => _doors[silo].Target = address;

    /// <summary>Ends every transfer that is under way.</summary>
    public void Cut()
    {
        foreach (var door in _doors.Values) door.Cut();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var door in _doors.Values) await door.DisposeAsync();
    }

    private sealed class Door : IAsyncDisposable
    {
        private readonly FlakyDoors _doors;
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly ConcurrentDictionary<TcpClient, bool> _open = new();
        private readonly Task _accepting;

        public Door(FlakyDoors doors)
        {
            _doors = doors;
            _listener.Start();
            Port = ((IPEndPoint)_listener.LocalEndpoint).Port;
            _accepting = Accept();
        }

        public int Port { get; }

        public Uri? Target { get; set; }

        public void Cut()
        {
            foreach (var client in _open.Keys) client.Dispose();
        }

        public async ValueTask DisposeAsync()
        {
            _listener.Stop();
            Cut();
            await _accepting;
        }

        private async Task Accept()
        {
            try
            {
                while (true) _ = Lead(await _listener.AcceptTcpClientAsync());
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException or InvalidOperationException)
            {
                // Closed.
            }
        }

        private async Task Lead(TcpClient client)
        {
            using var server = new TcpClient();
            _open[client] = _open[server] = true;
            try
            {
                await server.ConnectAsync(Target!.Host, Target.Port);
                var (here, there) = (client.GetStream(), server.GetStream());
                await Task.WhenAny(Copy(here, there), Copy(there, here));
            }
            catch (Exception exception) when (exception is SocketException or IOException or ObjectDisposedException or InvalidOperationException)
            {
                // The connection was cut, or the silo is down.
            }
            finally
            {
                _open.TryRemove(client, out _);
                _open.TryRemove(server, out _);
                client.Dispose();
            }
        }

        private async Task Copy(NetworkStream from, NetworkStream to)
        {
            var buffer = new byte[64 << 10];
            while (true)
            {
                var read = await from.ReadAsync(buffer.AsMemory(0, _doors.IsSlow ? SlowBytes : buffer.Length));
                if (read == 0) return;
                if (_doors.IsSlow) await Task.Delay(SlowPause);
                await to.WriteAsync(buffer.AsMemory(0, read));
            }
        }
    }
}

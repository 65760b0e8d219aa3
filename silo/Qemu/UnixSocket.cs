using System.Globalization;
using System.Net.Sockets;

namespace Instances.Qemu;

internal static class UnixSocket
{
    /// <summary>Connects to a socket in a folder of any depth. A socket's path has at most 107 bytes: this one goes through the folder's handle.</summary>
    /// <exception cref="QmpException">Nobody listens.</exception>
    public static async Task<Socket> Connect(string folder, string name, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            using var handle = Posix.OpenFolder(folder);
            var path = string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{handle.DangerousGetHandle()}/{name}");
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return socket;
        }
        catch (Exception e)
        {
            socket.Dispose();
            if (e is SocketException or IOException) throw new QmpException($"Nobody listens on {name}: {e.Message}", isLost: true, e);
            throw;
        }
    }
}

using System.Globalization;
using System.Net.Sockets;
using Instances.Library;

namespace Instances.Qemu;

internal static class UnixSocket
{
    /// <summary>Connects to a socket in a folder of any depth. A socket's path has at most 107 bytes: this one goes through a handle. QEMU's user owns the folder: a link in it is not followed.</summary>
    /// <exception cref="QmpException">Nothing listens on the socket.</exception>
    public static async Task<Socket> Connect(string folder, string name, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            using var handle = UnixFiles.OpenFolder(folder);
            using var file = UnixFiles.OpenSocket(handle, name);
            var path = string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{file.DangerousGetHandle()}");
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return socket;
        }
        catch (Exception e)
        {
            socket.Dispose();
            if (e is SocketException or IOException) throw new QmpException($"Nothing listens on {name}: {e.Message}", isLost: true, e);
            throw;
        }
    }
}

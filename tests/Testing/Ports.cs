using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Instances.Testing;

/// <summary>Ports for servers of tests.</summary>
internal static class Ports
{
    /// <summary>Below Linux' range of ephemeral ports, so that no connection takes a port between its choice and its use.</summary>
    private const int First = 16384;
    private const int End = 32768;

    private static readonly ConcurrentDictionary<int, bool> s_given = new();

    /// <summary>A free port that was not returned before, because an earlier caller may not have opened it yet.</summary>
    public static int Free()
    {
        while (true)
        {
            var port = Random.Shared.Next(First, End);
            if (s_given.TryAdd(port, true) && IsFree(port)) return port;
        }
    }

    private static bool IsFree(int port)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}

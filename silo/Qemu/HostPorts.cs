using System.Net;
using System.Net.Sockets;
using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>Chooses ports of the host's loopback address. QEMU opens them later: if one was taken meanwhile, QEMU reports it.</summary>
internal static class HostPorts
{
    /// <param name="machine">Its name, for a refusal.</param>
    /// <param name="wished">A host port of 0 is chosen here.</param>
    /// <param name="former">The previously chosen ports, kept if they are free; null for none.</param>
    /// <exception cref="FaultException">port-in-use.</exception>
    public static IReadOnlyList<PortForward> Choose(string machine, IReadOnlyList<PortForward> wished, IReadOnlyList<PortForward>? former)
    {
        // Keep the sockets open until all ports are chosen, so that none is chosen twice.
        var held = new List<Socket>();
        try
        {
            return [.. wished.Select((port, index) => port with { HostPort = Choose(machine, port, former?.ElementAtOrDefault(index), held) })];
        }
        finally
        {
            held.ForEach(socket => socket.Dispose());
        }
    }

    public static FaultException InUse(string machine, PortForward port) => FaultException.Conflict(
        "port-in-use",
        $"The virtual machine '{machine}' requests port {port.HostPort} of the host, which is in use: choose another hostPort, or 0 to have a free one chosen.");

    private static int Choose(string machine, PortForward wished, PortForward? former, List<Socket> held)
    {
        if (wished.HostPort != 0) return Take(wished, wished.HostPort, held) ?? throw InUse(machine, wished);
        return (former is { HostPort: not 0 } ? Take(wished, former.HostPort, held) : null) ?? Take(wished, 0, held) ?? throw InUse(machine, wished);
    }

    private static int? Take(PortForward wished, int port, List<Socket> held)
    {
        var socket = wished.Protocol switch
        {
            TransportProtocol.Tcp => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp),
            TransportProtocol.Udp => new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp),
        };
        held.Add(socket);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return ((IPEndPoint)socket.LocalEndPoint!).Port;
        }
        catch (SocketException)
        {
            return null;
        }
    }
}

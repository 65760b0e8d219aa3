using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Instances.Requests;

/// <summary>Lets a sender that has closed its half of the connection behind the last byte of an upload have its answer. The web server takes that for an abort, and closes the connection.</summary>
/// <remarks>Only while an upload runs: any other request of a client that has gone is to end. A connection that is reset fails the next read or write in any case.</remarks>
internal static class HalfClosedConnections
{
    public static void Keep(KestrelServerOptions options) => options.ConfigureEndpointDefaults(endpoint => endpoint.Use(next => async connection =>
    {
        using var state = new HalfClosable(connection.ConnectionClosed);
        connection.Features.Set(state);
        connection.ConnectionClosed = state.Closed;
        await next(connection);
    }));
}

/// <summary>Whether a connection counts as closed.</summary>
internal sealed class HalfClosable : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private readonly CancellationTokenRegistration _registration;
    private volatile bool _isKept;

    public HalfClosable(CancellationToken closed) => _registration = closed.Register(() =>
    {
        if (!_isKept) _closed.Cancel();
    });

    public CancellationToken Closed => _closed.Token;

    /// <summary>The request that runs on the connection is an upload. After it the connection is of no use if its sender has closed it: the web server finds no further request.</summary>
    public void Keep() => _isKept = true;

    public void Dispose()
    {
        _registration.Dispose();
        _closed.Dispose();
    }
}

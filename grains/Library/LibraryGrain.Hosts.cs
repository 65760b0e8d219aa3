using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>The layers in use by hosts that share the library's folder, according to the hosts' own files.</summary>
internal sealed partial class LibraryGrain
{
    private static readonly TimeSpan HostBound = TimeSpan.FromSeconds(5);

    public Task<bool> ForgetHost(HostId host) => Task.FromResult(layers.RemoveUser(host));

    /// <returns>The layers that these hosts use, and why that may not be all.</returns>
    private async Task<(IReadOnlySet<LayerId> Layers, string? Held)> FindUsed()
    {
        var (used, users) = (new HashSet<LayerId>(), layers.Users());
        var registered = (await GrainFactory.Datacenter().Hosts()).ToDictionary(host => host.Id);
        foreach (var host in users.Where(host => !registered.ContainsKey(host)))
            return (used, $"The host {host} uses the library's folder and has not registered since the database was created: start its silo, or forget the host (DELETE hosts/{host}) if it will not come back.");
        foreach (var host in registered.Values.Where(host => users.Contains(host.Id) || host.Store == layers.Id))
        {
            if (host.Status is HostStatus.Away || await Ask(host.Id) is not { } layersOfHost)
                return (used, $"The host {host.Id} uses the library's folder and does not report which layers its machines use: start its silo, or forget the host (DELETE hosts/{host.Id}) if it will not come back.");
            used.UnionWith(layersOfHost);
        }

        return (used, null);
    }

    private async Task<IReadOnlyCollection<LayerId>?> Ask(HostId host)
    {
        try
        {
            return (await GrainFactory.Host(host).Inventory().WaitAsync(HostBound, time)).Used;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            LogHostNotAsked(host.Name, exception.Message);
            return null;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "No layer is removed from the library: {Reason}")]
    private partial void LogHeld(string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The host {Host} did not report which layers it uses: {Reason}")]
    private partial void LogHostNotAsked(string host, string reason);
}

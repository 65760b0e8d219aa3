using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Datacenters;

/// <summary>The datacenters that this gateway serves.</summary>
internal sealed class DatacenterDirectory(IEnumerable<IDatacenterConnection> connections)
{
    private readonly Dictionary<string, IDatacenterConnection> _connections =
        connections.ToDictionary(connection => connection.Name, StringComparer.OrdinalIgnoreCase);

    public IReadOnlyCollection<IDatacenterConnection> All => _connections.Values;

    /// <exception cref="FaultException">datacenter-not-found.</exception>
    public IDatacenterConnection Get(string name) => _connections.TryGetValue(name, out var connection)
        ? connection
        : throw FaultException.NotFound(
            "datacenter-not-found",
            $"This gateway knows no datacenter '{name}'. It serves: {string.Join(", ", _connections.Keys.Order(StringComparer.Ordinal))}.");
}

internal static class DatacenterServices
{
    /// <summary>Serves the cluster that this process is part of, by the <see cref="IClusterClient"/> that is registered.</summary>
    public static IServiceCollection AddLocalDatacenter(this IServiceCollection services, string name) =>
        services.AddSingleton<IDatacenterConnection>(provider => new LocalDatacenter(name, provider.GetRequiredService<IClusterClient>()));

    /// <summary>Serves the datacenters of the section <c>Datacenters</c>, each as a client.</summary>
    public static IServiceCollection AddRemoteDatacenters(this IServiceCollection services, IConfiguration configuration)
    {
        var section = configuration.GetSection(DatacentersOptions.Section);
        services.AddSingleton<IValidateOptions<DatacentersOptions>, DatacentersOptionsValidator>();
        services.AddOptions<DatacentersOptions>().Bind(section).ValidateOnStart();
        foreach (var name in section.GetChildren().Select(child => child.Key))
        {
            services.AddKeyedSingleton(name, (provider, _) => new RemoteDatacenter(
                name,
                provider.GetRequiredService<IOptions<DatacentersOptions>>().Value[name],
                provider.GetRequiredService<ILoggerFactory>(),
                provider.GetRequiredService<TimeProvider>()));
            services.AddSingleton<IDatacenterConnection>(provider => provider.GetRequiredKeyedService<RemoteDatacenter>(name));
            services.AddSingleton<IHostedService>(provider => provider.GetRequiredKeyedService<RemoteDatacenter>(name));
        }

        return services;
    }
}

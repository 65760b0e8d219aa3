using Instances.Faults;

namespace Instances.Datacenters;

/// <summary>The way to one datacenter's cluster.</summary>
internal interface IDatacenterConnection
{
    string Name { get; }

    /// <exception cref="FaultException">datacenter-unavailable, while it was not reached yet.</exception>
    IClusterClient Client { get; }
}

/// <summary>The cluster that this process is part of.</summary>
internal sealed class LocalDatacenter(string name, IClusterClient client) : IDatacenterConnection
{
    public string Name => name;

    public IClusterClient Client => client;
}

namespace Instances.Datacenters;

/// <summary>What a client and the silos of a datacenter must agree on. The cluster id is the datacenter's name.</summary>
internal static class ClusterNames
{
    public const string ServiceId = "instances";

    /// <summary>The default name of a datacenter (<c>Silo:Datacenter</c>).</summary>
    public const string Local = "local";
}

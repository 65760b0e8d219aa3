namespace Instances.Datacenters;

/// <summary>What a client and the silos of a datacenter must agree on. The cluster id is the datacenter's name.</summary>
internal static class ClusterNames
{
    public const string ServiceId = "instances";

    /// <summary>The datacenter that the process itself is.</summary>
    public const string Local = "local";
}

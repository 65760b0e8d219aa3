using System.ComponentModel;

namespace Instances.Appliances;

/// <summary>How an appliance is undeployed.</summary>
internal sealed record UndeployRequest(
    [property: Description("Do not wait for unreachable hosts.")]
    bool Force = false);

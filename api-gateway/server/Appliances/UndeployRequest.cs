using System.ComponentModel;

namespace Instances.Appliances;

/// <summary>How an appliance is undeployed.</summary>
internal sealed record UndeployRequest(
    [property: Description("Hosts that are away are not waited for.")]
    bool Force = false);

using System.ComponentModel;

namespace Instances.Enterprises;

/// <summary>An enterprise to create.</summary>
internal sealed record CreateEnterpriseRequest(
    [property: Description("1 to 128 characters.")] string Name,
    [property: Description("Its quotas; without them it has none.")] EnterpriseQuotas? Quotas = null,
    [property: Description("The id that it has in other datacenters. Without it, a new id is chosen.")] EnterpriseId? Id = null);

using System.ComponentModel;

namespace Instances.Enterprises;

/// <summary>An enterprise to make.</summary>
internal sealed record CreateEnterpriseRequest(
    [property: Description("1 to 128 characters.")] string Name,
    [property: Description("How much it may have; none where it is left out.")] EnterpriseQuotas? Quotas = null,
    [property: Description("The id that it has in other datacenters. Left out: a new one.")] EnterpriseId? Id = null);

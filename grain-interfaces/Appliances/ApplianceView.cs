using Instances.Enterprises;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>The status of an appliance. At rest it is Undeployed or Deployed.</summary>
public enum ApplianceStatus
{
    Undeployed,
    Deploying,
    Deployed,

    /// <summary>An instance is being created.</summary>
    Bundling,
    Undeploying,
}

/// <param name="Operation">The running operation; null when Deployed or Undeployed.</param>
[GenerateSerializer, Immutable, Alias("instances.ApplianceView")]
public sealed record ApplianceView(
    [property: Id(0)] ApplianceId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] string? Description,
    [property: Id(3)] ApplianceStatus Status,
    [property: Id(4)] OperationId? Operation,
    [property: Id(5)] IReadOnlyList<VirtualMachineId> VirtualMachines,
    [property: Id(6)] DateTimeOffset CreatedAt,
    [property: Id(7)] RetentionRule? Retention = null)
{
    /// <summary>Whose it is, with the images that are captured from it.</summary>
    [Id(8)]
    public EnterpriseId Enterprise { get; init; }

    /// <summary>Incremented by each change of the name, the description or the retention rule. It is the ETag.</summary>
    [Id(9)]
    public long Version { get; init; } = 1;

    public ApplianceSpec ToSpec() => new(Name, Description, Retention) { Enterprise = Enterprise };
}

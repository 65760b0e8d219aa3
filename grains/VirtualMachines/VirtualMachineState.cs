using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Storage;

namespace Instances.VirtualMachines;

internal sealed record VirtualMachineState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public ApplianceId Appliance { get; init; }

    /// <summary>The appliance's.</summary>
    public EnterpriseId Enterprise { get; init; }

    public VirtualMachineSpec? Spec { get; init; }

    /// <summary>The image's default when the machine was created or changed, for a specification without a value.</summary>
    public int? DefaultCpus { get; init; }

    public long? DefaultMemoryBytes { get; init; }

    /// <summary>Incremented by each change of the specification.</summary>
    public long Version { get; init; } = 1;

    public VirtualMachineStatus Status { get; init; }

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Where and how it is deployed; null when Undeployed.</summary>
    public Deployment? Deployment { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    /// <summary>The status that users want. For a record without it: the status when the machine was last seen. Null when Undeployed.</summary>
    [JsonIgnore]
    public VirtualMachineStatus? WishedStatus => Deployment is null
        ? null
        : Deployment.Wished ?? (Status is VirtualMachineStatus.Paused or VirtualMachineStatus.Stopped ? Status : VirtualMachineStatus.Running);

    [JsonIgnore]
    public int Cpus => Spec!.Cpus ?? DefaultCpus ?? VirtualMachineSpecRules.DefaultCpus;

    [JsonIgnore]
    public long MemoryBytes => Spec!.MemoryBytes ?? DefaultMemoryBytes ?? VirtualMachineSpecRules.DefaultMemoryBytes;

    public VirtualMachineView ToView(VirtualMachineId id, VirtualMachineStatus status) => new(
        id, Appliance, Spec!.Name, status, Spec.Image, Spec.DataDisks ?? [], Deployment?.Host, Deployment?.Disks ?? [], CreatedAt, WishedStatus, Deployment?.Problem,
        Spec.Identity, Deployment is null ? null : InstanceIdOf(id, Deployment))
    {
        Cpus = Spec.Cpus,
        MemoryBytes = Spec.MemoryBytes,
        PortForwards = Spec.PortForwards ?? [],
        SshAuthorizedKeys = Spec.SshAuthorizedKeys,
        UserDataSha256 = VirtualMachineSpecRules.UserDataOf(Spec) is { } data ? Convert.ToHexStringLower(SHA256.HashData(data)) : null,
        Version = Version,
        EffectiveCpus = Cpus,
        EffectiveMemoryBytes = MemoryBytes,
        EffectivePortForwards = Deployment?.PortForwards ?? Spec.PortForwards ?? [],
        Hint = Deployment?.Hint,
    };

    /// <summary>The identity of deployments by an earlier release, which did not record it.</summary>
    public static string InstanceIdOf(VirtualMachineId id, Deployment deployment) => deployment.InstanceId ?? GuestIdentities.OfDeployment(id, deployment.Operation);

    public VirtualMachineState WithCatalogue(VirtualMachineId id) => this with
    {
        Catalogue = new(
            CatalogueEntry.VirtualMachine, id.Value, Spec!.Name, JsonNamingPolicy.CamelCase.ConvertName(Status.ToString()), Appliance.Value, Spec.Image.Value,
            Machine: null, CreatedAt, [.. Deployment?.Layers ?? []], JsonSerializer.SerializeToElement(ToView(id, Status), InstancesJson.Options),
            Enterprise: Enterprise.Value)
        {
            Unknown = Catalogue?.Unknown,
        },
    };
}

/// <param name="Operation">The operation that deployed it.</param>
/// <param name="OwnLayers">The layers that no image has. They are released when the machine is undeployed.</param>
/// <param name="Capture">The capture that holds the machine; null otherwise.</param>
/// <param name="Wished">Running, Paused or Stopped.</param>
/// <param name="Problem">Why the observed status is not the wished one.</param>
/// <param name="InstanceId">The guest's identity; null for a deployment of an earlier release.</param>
/// <param name="Merging">The merged layers that the host is creating for this machine; null for none.</param>
/// <param name="LastPower">The newest power request with a key.</param>
/// <param name="Hint">What the console shows about a guest that does not boot.</param>
internal sealed record Deployment(
    OperationId Operation,
    HostId Host,
    IReadOnlyList<DiskChain> Disks,
    IReadOnlyList<LayerId> OwnLayers,
    IReadOnlyList<PortForward> PortForwards,
    RunningCapture? Capture = null,
    VirtualMachineStatus? Wished = null,
    string? Problem = null,
    string? InstanceId = null,
    IReadOnlyList<LayerId>? Merging = null,
    PowerRequest? LastPower = null,
    string? Hint = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>All layers that the machine needs.</summary>
    public IEnumerable<LayerId> Layers => Disks.SelectMany(disk => disk.Layers).Concat(OwnLayers).Concat(Capture?.NextLayers ?? []).Concat(Merging ?? []).Distinct();

    /// <summary>Replaces the chains by others with the same content: merged layers in use become the machine's own layers, and the layers that were merged into them no longer are.</summary>
    public Deployment On(IReadOnlyList<DiskChain> disks)
    {
        var used = disks.SelectMany(disk => disk.Layers).ToHashSet();
        return this with { Disks = disks, OwnLayers = [.. OwnLayers.Concat(Merging ?? []).Where(used.Contains)] };
    }
}

/// <param name="NextLayers">The layer that each disk continues with after the seal.</param>
internal sealed record RunningCapture(OperationId Operation, IReadOnlyList<LayerId> NextLayers)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

/// <param name="IsDone">False from just before a reset until its host has answered.</param>
internal sealed record PowerRequest(RequestId Request, bool IsDone)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

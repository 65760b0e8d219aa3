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

    /// <summary>What the image gave when the machine was created or changed, for a specification that names none.</summary>
    public int? DefaultCpus { get; init; }

    public long? DefaultMemoryBytes { get; init; }

    /// <summary>One more with every change of the specification.</summary>
    public long Version { get; init; } = 1;

    public VirtualMachineStatus Status { get; init; }

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Where and how it is deployed; null when Undeployed.</summary>
    public Deployment? Deployment { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    /// <summary>What people want it to be; of a machine whose record does not say so, what it was when it was last seen. Null when Undeployed.</summary>
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

    /// <summary>A deployment of an earlier release does not name its identity, which was this one.</summary>
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
/// <param name="OwnLayers">The layers that no image holds: they go when the machine is undeployed.</param>
/// <param name="Capture">The capture that has the machine; null otherwise.</param>
/// <param name="Wished">Running, Paused or Stopped.</param>
/// <param name="Problem">What stands between the wished status and the observed one.</param>
/// <param name="InstanceId">The guest's identity; null for a deployment of an earlier release.</param>
/// <param name="Merging">The layers that the host makes of layers of this machine; null if it makes none.</param>
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

    /// <summary>Everything that must not be swept away.</summary>
    public IEnumerable<LayerId> Layers => Disks.SelectMany(disk => disk.Layers).Concat(OwnLayers).Concat(Capture?.NextLayers ?? []).Concat(Merging ?? []).Distinct();

    /// <summary>With other chains of the same content: merged layers that are in use are the machine's own, and those that became part of them are not its any more.</summary>
    public Deployment On(IReadOnlyList<DiskChain> disks)
    {
        var used = disks.SelectMany(disk => disk.Layers).ToHashSet();
        return this with { Disks = disks, OwnLayers = [.. OwnLayers.Concat(Merging ?? []).Where(used.Contains)] };
    }
}

/// <param name="NextLayers">What each disk continues with once it is sealed.</param>
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

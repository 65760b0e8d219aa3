using Instances.VirtualMachines;

namespace Instances.Library;

/// <summary>A Ready slave that a retention rule applies to.</summary>
/// <param name="IsExempt">Pinned, shared with all enterprises, or restored by a user.</param>
/// <param name="IsUsed">A machine uses it.</param>
/// <param name="OfMaster">The rule of its master if both belong to the same enterprise, or null.</param>
/// <param name="OfAppliance">The rule of the appliance that it was captured from, or null.</param>
public sealed record RuledInstance(
    ImageId Id, VirtualMachineId VirtualMachine, DateTimeOffset CreatedAt, bool IsExempt, bool IsUsed, RetentionRule? OfMaster, RetentionRule? OfAppliance);

/// <summary>Decides which instances are retired by retention rules. Pure.</summary>
internal static class Retention
{
    /// <summary>Instances that no rule keeps. Exempt or used ones count among the newest and are never retired.</summary>
    public static IReadOnlyList<ImageId> Expendable(IEnumerable<RuledInstance> instances, DateTimeOffset now) =>
    [
        .. instances.GroupBy(instance => instance.VirtualMachine).SelectMany(versions => versions
            .OrderByDescending(instance => instance.CreatedAt).ThenByDescending(instance => instance.Id.Value)
            .Index().Where(version => MayGo(version.Item, newer: version.Index, now)).Select(version => version.Item.Id)),
    ];

    private static bool MayGo(RuledInstance instance, int newer, DateTimeOffset now) =>
        !instance.IsExempt && !instance.IsUsed && (instance.OfMaster ?? instance.OfAppliance) is not null
        && !Keeps(instance.OfMaster, newer, now - instance.CreatedAt) && !Keeps(instance.OfAppliance, newer, now - instance.CreatedAt);

    private static bool Keeps(RetentionRule? rule, int newer, TimeSpan age) =>
        rule is not null && (newer < rule.KeepLast || age < TimeSpan.FromHours(rule.KeepForHours ?? 0));
}

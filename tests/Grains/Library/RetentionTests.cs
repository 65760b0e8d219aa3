using CsCheck;
using Instances.Library;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>Tests only the decision which instances are retired.</summary>
public sealed class RetentionTests
{
    private static readonly DateTimeOffset Now = new(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);

    private static readonly VirtualMachineId Web = VirtualMachineId.New();

    [Theory]
    [InlineData(2, null, null, null, "2 3 4")]
    [InlineData(null, 3, null, null, "3 4")]
    [InlineData(2, 4, null, null, "4")]
    [InlineData(4, 2, null, null, "4")]
    [InlineData(1, null, 3, null, "3 4")]
    [InlineData(3, null, null, 2, "3 4")]
    [InlineData(null, null, 1, null, "1 2 3 4")]
    [InlineData(9, null, 1, null, "")]
    public void Expendable_OfFiveAnHourApart_IsWhatNoPartOfARuleKeeps(int? masterLast, int? masterHours, int? applianceLast, int? applianceHours, string gone)
    {
        var instances = Enumerable.Range(0, 5).Select(age => Instance(Web, age) with { OfMaster = Rule(masterLast, masterHours), OfAppliance = Rule(applianceLast, applianceHours) }).ToList();

        var expendable = Retention.Expendable(instances, Now);

        Assert.Equal(gone, string.Join(' ', instances.Index().Where(item => expendable.Contains(item.Item.Id)).Select(item => item.Index)));
    }

    [Fact]
    public void Expendable_OfSeveralMachines_CountsEachByItself()
    {
        var (one, other) = (Instance(Web, 5), Instance(VirtualMachineId.New(), 9));

        Assert.Empty(Retention.Expendable([one, other], Now));
        Assert.Equal([other.Id], Retention.Expendable([one, other, other with { Id = ImageId.New(), CreatedAt = Now }], Now));
    }

    [Fact]
    public void Expendable_OfWhatIsUsedOrExempt_IsNone()
    {
        var newest = Instance(Web, 0);

        Assert.Empty(Retention.Expendable([newest, Instance(Web, 5) with { IsUsed = true }, Instance(Web, 6) with { IsExempt = true }], Now));
        Assert.Single(Retention.Expendable([newest, Instance(Web, 7)], Now));
    }

    [Fact]
    public void Expendable_OfAnything_KeepsAsManyAsTheRuleSaysAndTheNewest() =>
        Gen.Select(Gen.Int[1, 10], Gen.Int[0, 100].Array[0, 30]).Sample((last, ages) =>
        {
            var instances = ages.Select(age => Instance(Web, age) with { OfMaster = new(KeepLast: last) }).ToList();
            var gone = Retention.Expendable(instances, Now).ToHashSet();
            var kept = instances.Where(instance => !gone.Contains(instance.Id)).ToList();
            return kept.Count == Math.Min(last, ages.Length)
                && instances.Where(instance => gone.Contains(instance.Id)).All(lost => kept.All(instance => instance.CreatedAt >= lost.CreatedAt));
        });

    private static RetentionRule? Rule(int? last, int? hours) => last is null && hours is null ? null : new(last, hours);

    private static RuledInstance Instance(VirtualMachineId machine, int hoursOld) =>
        new(ImageId.New(), machine, Now.AddHours(-hoursOld), IsExempt: false, IsUsed: false, new(KeepLast: 1), OfAppliance: null);
}

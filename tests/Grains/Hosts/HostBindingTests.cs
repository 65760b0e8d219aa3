using Instances.Hosts;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

public sealed class HostBindingTests
{
    private static readonly Guid Ours = Guid.NewGuid();

    [Theory]
    [InlineData(7, 7)]
    [InlineData(6, 7)]
    public void FindStranger_OfAHostThatIsNotAheadOfItsDatabase_FindsNone(long host, long database) =>
        Assert.Null(HostBinding.FindStranger(new(Ours, host), new(Ours, database), machines: 3, isAnyKnown: false));

    [Fact]
    public void FindStranger_OfAHostThatIsAheadOfItsDatabase_SaysThatItWasRestored() =>
        Assert.Contains("backup", HostBinding.FindStranger(new(Ours, 8), new(Ours, 7), machines: 3, isAnyKnown: true), StringComparison.Ordinal);

    [Fact]
    public void FindStranger_OfAnotherDatabasesHost_FindsItWhereThereIsSomethingToLose()
    {
        Assert.Contains("another database", HostBinding.FindStranger(new(Guid.NewGuid(), 1), new(Ours, 9), machines: 3, isAnyKnown: true), StringComparison.Ordinal);
        Assert.Contains("another database", HostBinding.FindStranger(HostBinding.Unreadable, new(Ours, 9), machines: 3, isAnyKnown: true), StringComparison.Ordinal);
        Assert.Null(HostBinding.FindStranger(new(Guid.NewGuid(), 1), new(Ours, 9), machines: 0, isAnyKnown: false));
    }

    [Fact]
    public void FindStranger_OfAHostThatWasNeverBound_GoesByWhatTheDatabaseKnows()
    {
        Assert.Null(HostBinding.FindStranger(null, new(Ours, 0), machines: 3, isAnyKnown: true));
        Assert.Contains("knows none", HostBinding.FindStranger(null, new(Ours, 0), machines: 3, isAnyKnown: false), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(5, 5, false)]
    [InlineData(6, 6, true)]
    [InlineData(6, 24, false)]
    [InlineData(6, 23, true)]
    [InlineData(25, 100, false)]
    [InlineData(26, 100, true)]
    public void IsTooMany_OfRemovals_GoesByNumberAndShare(int removals, int machines, bool isTooMany) => Assert.Equal(isTooMany, RemovalRule.IsTooMany(removals, machines));
}

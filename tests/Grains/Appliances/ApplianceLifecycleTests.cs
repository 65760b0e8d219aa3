using CsCheck;
using Instances.Appliances;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

public sealed class ApplianceLifecycleTests
{
    private const string Table = """
                       Edit           | Delete             | Deploy         | Undeploy               | CreateInstance         | CommitToUndeploy | RestDeployed | RestUndeployed | Adopt
          Undeployed   | Undeployed     | Undeployed         | Deploying      | appliance-not-deployed | appliance-not-deployed | defect           | defect       | ignore | Deployed
          Deploying    | appliance-busy | appliance-busy     | appliance-busy | appliance-busy         | appliance-busy         | defect           | Deployed     | Undeployed | appliance-busy
          Deployed     | Deployed       | appliance-deployed | Deploying      | Undeploying            | Bundling               | defect           | ignore       | defect | Deployed
          Bundling     | appliance-busy | appliance-busy     | appliance-busy | appliance-busy         | appliance-busy         | Undeploying      | Deployed     | defect | appliance-busy
          Undeploying  | appliance-busy | appliance-busy     | appliance-busy | appliance-busy         | appliance-busy         | ignore           | defect       | Undeployed | appliance-busy
        """;

    private static readonly ApplianceCommand[] People =
        [ApplianceCommand.Edit, ApplianceCommand.Delete, ApplianceCommand.Deploy, ApplianceCommand.Undeploy, ApplianceCommand.CreateInstance];

    private static readonly ApplianceCommand[] Rests = [ApplianceCommand.RestDeployed, ApplianceCommand.RestUndeployed];

    public static TheoryData<string, string, string> Pairs => LifecycleTable.Parse<ApplianceStatus, ApplianceCommand>([Table]);

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Decide_EachPair_IsAsTheTableSays(string status, string command, string expected)
    {
        var decision = ApplianceLifecycle.Decide(Enum.Parse<ApplianceStatus>(status), Enum.Parse<ApplianceCommand>(command));

        Assert.Equal(expected, LifecycleTable.Cell(decision));
        LifecycleTable.AssertNamesStatus(status, decision);
    }

    [Fact]
    public void Decide_AnyCommandsOfPeople_NeverMeetADefect() =>
        Gen.Select(Gen.Enum<ApplianceStatus>(), Gen.OneOf(People).Array[0, 20]).Sample((status, commands) =>
            commands.Aggregate(status, (now, command) => Next(now, command, isPerson: true)) is var end && Enum.IsDefined(end));

    [Fact]
    public void Decide_WhileAnOperationRuns_PeopleChangeNothing() =>
        Gen.Select(Gen.OneOf(ApplianceStatus.Deploying, ApplianceStatus.Bundling, ApplianceStatus.Undeploying), Gen.OneOf(People))
            .Sample((status, command) => ApplianceLifecycle.Decide(status, command) is Decision<ApplianceStatus>.Refuse);

    [Fact]
    public void Decide_FromEveryStatus_SomeRestLeadsToRestAndStaysThere() =>
        Gen.Enum<ApplianceStatus>().Sample(status => Rests.Any(rest =>
        {
            var end = Next(status, rest, isPerson: false);
            return end is (ApplianceStatus.Deployed or ApplianceStatus.Undeployed) && Next(end, rest, isPerson: false) == end;
        }));

    /// <summary>Random walks: a refused or an ignored command changes nothing.</summary>
    private static ApplianceStatus Next(ApplianceStatus status, ApplianceCommand command, bool isPerson)
    {
        var decision = ApplianceLifecycle.Decide(status, command);
        if (isPerson) Assert.NotEqual("defect", LifecycleTable.Cell(decision));
        return decision is Decision<ApplianceStatus>.Accept accept ? accept.Next : status;
    }
}

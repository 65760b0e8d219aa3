using CsCheck;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.VirtualMachines;

public sealed class VirtualMachineLifecycleTests
{
    private const string Operations = """
                       Edit                       | Delete                     | Deploy                     | BeginCapture                 | Undeploy    | Removed
          Undeployed  | Undeployed                 | Undeployed                 | Deploying                  | virtual-machine-not-deployed | ignore      | ignore
          Deploying   | virtual-machine-busy       | virtual-machine-busy       | ignore                     | virtual-machine-busy         | Undeploying | defect
          Running     | virtual-machine-deployed   | virtual-machine-deployed   | virtual-machine-deployed   | Capturing                    | Undeploying | defect
          Paused      | virtual-machine-deployed   | virtual-machine-deployed   | virtual-machine-deployed   | Capturing                    | Undeploying | defect
          Stopped     | virtual-machine-deployed   | virtual-machine-deployed   | virtual-machine-deployed   | Capturing                    | Undeploying | defect
          Capturing   | virtual-machine-busy       | virtual-machine-busy       | virtual-machine-busy       | virtual-machine-busy         | Undeploying | defect
          Undeploying | virtual-machine-busy       | virtual-machine-busy       | virtual-machine-busy       | virtual-machine-busy         | ignore      | Undeployed
          Unknown     | virtual-machine-deployed   | virtual-machine-deployed   | virtual-machine-deployed   | host-unavailable             | Undeploying | defect
        """;

    private const string Observations = """
                       RestRunning | RestPaused | RestStopped | ObserveRunning               | ObservePaused                | ObserveStopped               | LoseSight | Adopt
          Undeployed  | defect      | defect     | defect      | virtual-machine-not-deployed | virtual-machine-not-deployed | virtual-machine-not-deployed | ignore | Unknown
          Deploying   | Running     | Paused     | Stopped     | ignore                       | ignore                       | ignore                       | ignore | virtual-machine-busy
          Running     | ignore      | Paused     | Stopped     | ignore                       | Paused                       | Stopped                      | Unknown | Unknown
          Paused      | Running     | ignore     | Stopped     | Running                      | ignore                       | Stopped                      | Unknown | Unknown
          Stopped     | Running     | Paused     | ignore      | Running                      | Paused                       | ignore                       | Unknown | Unknown
          Capturing   | Running     | Paused     | Stopped     | ignore                       | ignore                       | ignore                       | ignore | virtual-machine-busy
          Undeploying | defect      | defect     | defect      | ignore                       | ignore                       | ignore                       | ignore | virtual-machine-busy
          Unknown     | Running     | Paused     | Stopped     | Running                      | Paused                       | Stopped                      | ignore | Unknown
        """;

    private const string Power = """
                       On                           | Off                          | Shutdown                     | Reset                        | Pause                        | Resume
          Undeployed  | virtual-machine-not-deployed | virtual-machine-not-deployed | virtual-machine-not-deployed | virtual-machine-not-deployed | virtual-machine-not-deployed | virtual-machine-not-deployed
          Deploying   | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy
          Running     | ignore                       | Stopped                      | Running                      | Running                      | Paused                       | ignore
          Paused      | power-conflict               | Stopped                      | power-conflict               | power-conflict               | ignore                       | Running
          Stopped     | Running                      | ignore                       | ignore                       | power-conflict               | power-conflict               | power-conflict
          Capturing   | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy
          Undeploying | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy         | virtual-machine-busy
          Unknown     | host-unavailable             | Stopped                      | host-unavailable             | host-unavailable             | host-unavailable             | host-unavailable
        """;

    private static readonly VirtualMachineStatus[] Powers = [VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Stopped];

    public static TheoryData<string, string, string> Pairs =>
        LifecycleTable.Parse<VirtualMachineStatus, VirtualMachineCommand>([Operations, Observations]);

    public static TheoryData<string, string, string> PowerPairs => LifecycleTable.Parse<VirtualMachineStatus, PowerAction>([Power]);

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Decide_EachPair_IsAsTheTableSays(string status, string command, string expected)
    {
        var decision = VirtualMachineLifecycle.Decide(Enum.Parse<VirtualMachineStatus>(status), Enum.Parse<VirtualMachineCommand>(command));

        Assert.Equal(expected, LifecycleTable.Cell(decision));
        LifecycleTable.AssertNamesStatus(status, decision);
    }

    [Theory]
    [MemberData(nameof(PowerPairs))]
    public void DecidePower_EachPair_IsAsTheTableSays(string status, string action, string expected)
    {
        var decision = VirtualMachineLifecycle.DecidePower(Enum.Parse<VirtualMachineStatus>(status), Enum.Parse<PowerAction>(action));

        Assert.Equal(expected, LifecycleTable.Cell(decision));
        LifecycleTable.AssertNamesStatus(status, decision);
    }

    [Fact]
    public void DecidePower_AnyActions_NeverLeaveThePowerStates() =>
        Gen.Select(Gen.OneOf(Powers), Gen.Enum<PowerAction>().Array[0, 20]).Sample((status, actions) => Powers.Contains(
            actions.Aggregate(status, (now, action) => VirtualMachineLifecycle.DecidePower(now, action) is Decision<VirtualMachineStatus>.Accept accept ? accept.Next : now)));

    [Fact]
    public void Decide_WhatAHostObserves_NeverTakesAMachineFromAnOperation() =>
        Gen.Select(Gen.OneOf(VirtualMachineStatus.Deploying, VirtualMachineStatus.Capturing, VirtualMachineStatus.Undeploying), Gen.OneOf(Powers))
            .Sample((status, power) => VirtualMachineLifecycle.Decide(status, VirtualMachineLifecycle.Observe(power)) is Decision<VirtualMachineStatus>.Ignore);

    [Fact]
    public void Decide_FromDeployingAndCapturing_EveryRestLeadsToThatPowerState() =>
        Gen.Select(Gen.OneOf(VirtualMachineStatus.Deploying, VirtualMachineStatus.Capturing), Gen.OneOf(Powers))
            .Sample((status, power) => VirtualMachineLifecycle.Decide(status, VirtualMachineLifecycle.Rest(power)) == Decide<VirtualMachineStatus>.Accept(power));

    [Fact]
    public void Decide_FromEveryStatus_UndeployAndRemovedLeadToUndeployed() =>
        Gen.Enum<VirtualMachineStatus>().Sample(status =>
            Next(Next(status, VirtualMachineCommand.Undeploy), VirtualMachineCommand.Removed) is VirtualMachineStatus.Undeployed);

    private static VirtualMachineStatus Next(VirtualMachineStatus status, VirtualMachineCommand command) =>
        VirtualMachineLifecycle.Decide(status, command) is Decision<VirtualMachineStatus>.Accept accept ? accept.Next : status;
}

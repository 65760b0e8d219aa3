using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Two conflicting requests at the same time: one wins, the other gets the reason, and nothing is half done.</summary>
public sealed class RaceTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const int Rounds = 15;

    [Fact]
    public async Task DeleteImage_AgainstCreateVirtualMachine_ExactlyOneWins()
    {
        for (var round = 0; round < Rounds; round++)
        {
            var scene = await Scene.Undeployed(Cluster, machines: 0);
            var (delete, add) = await Both(
                round, () => Cluster.Grains.Image(scene.Master.Id).Delete(), () => Cluster.AddMachine(scene.Appliance, scene.Master.Id, "vm"));

            AssertOneWins(delete, add, "image-in-use", "image-not-ready", "image-not-found");
            Assert.Equal(add is null ? 1 : 0, (await scene.Machines()).Count);
            if (add is null) Assert.Equal(ImageStatus.Ready, (await scene.Image(scene.Master.Id)).Status);
            await scene.AssertNothingWithoutOwner();
        }
    }

    [Fact]
    public async Task DeleteImage_AgainstDeploy_TheMachineThatUsesItWins()
    {
        for (var round = 0; round < Rounds; round++)
        {
            var scene = await Scene.Undeployed(Cluster, machines: 2);
            var (delete, deploy) = await Both(round, () => Cluster.Grains.Image(scene.Master.Id).Delete(), () => scene.Deploy());

            // The deployment may see the temporary mark on the image. Then it is refused, and can be repeated.
            Assert.Equal("image-in-use", delete!.Fault.Code);
            if (deploy is not null) Assert.Equal("image-not-ready", deploy.Fault.Code);
            Assert.Equal(ImageStatus.Ready, (await scene.Image(scene.Master.Id)).Status);
            if ((await scene.Appliance.Get()).Status is ApplianceStatus.Deployed) await scene.AssertRestsDeployed();
            else await scene.AssertRestsUndeployed();
        }
    }

    [Fact]
    public async Task CreateInstance_WhoseRecordCannotBeMadeAtFirst_SucceedsAllTheSame()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        Cluster.FailNext["Begin"] = FaultException.Unavailable("told-to-fail", "The record was told to fail.");

        await scene.AssertInstances(await scene.CreateInstance(new()), 2);
    }

    [Fact]
    public async Task CreateInstance_AgainstUndeploy_ExactlyOneWins()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 2);
        for (var round = 0; round < Rounds; round++)
        {
            await scene.Deploy();
            var slaves = await Slaves(scene);
            var (create, undeploy) = await Both(round, () => scene.CreateInstance(new()), () => scene.Undeploy());

            AssertOneWins(create, undeploy, "appliance-busy", "appliance-not-deployed");
            Assert.Equal(slaves + (create is null ? 2 : 0), await Slaves(scene));
            await scene.AssertRestsUndeployed();
        }
    }

    [Fact]
    public async Task CreateInstance_Twice_ExactlyOneWins()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 2);
        for (var round = 0; round < Rounds; round++)
        {
            await scene.Deploy();
            var slaves = await Slaves(scene);
            var (one, other) = await Both(round, () => scene.CreateInstance(new()), () => scene.CreateInstance(new(UpdateImages: false)));

            AssertOneWins(one, other, "appliance-busy", "appliance-not-deployed");
            Assert.Equal(slaves + 2, await Slaves(scene));
            await scene.AssertRestsUndeployed();
        }
    }

    [Fact]
    public async Task CreateInstance_AgainstPower_LeavesTheMachineAsItsHostSaysIt()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var machine = scene.Machine((await scene.Machines())[0].Id);
        for (var round = 0; round < Rounds; round++)
        {
            var action = (await machine.Get()).Status is VirtualMachineStatus.Running ? PowerAction.Off : PowerAction.On;
            var (create, power) = await Both(round, () => scene.CreateInstance(new(Undeploy: false)), () => machine.Power(action));

            Assert.Null(create);
            if (power is not null) Assert.Equal("virtual-machine-busy", power.Fault.Code);
            await scene.AssertRestsDeployed();
        }
    }

    [Fact]
    public async Task Cancel_AgainstTheCommit_EitherUndoesAllOrNothing()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        for (var round = 0; round < Rounds; round++)
        {
            var slaves = await Slaves(scene);
            var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(Undeploy: false));
            var record = Cluster.Grains.Operation(operation.Id);
            for (var turn = 0; turn < 3 * round; turn++) await record.Find();
            var cancel = await Outcome(record.Cancel);

            var end = await Cluster.End(operation);

            if (cancel is not null) Assert.True(cancel.Fault.Code is "operation-past-commit" or "operation-finished");
            Assert.Equal(cancel is null ? OperationStatus.Cancelled : OperationStatus.Succeeded, end.Status);
            Assert.Equal(slaves + (cancel is null ? 0 : 2), await Slaves(scene));
            await scene.AssertRestsDeployed();
        }
    }

    private async Task<int> Slaves(Scene scene) => (await Cluster.Catalogue.Images(new(ImageKind.Slave, Master: scene.Master.Id), new(1000))).Items.Count;

    /// <summary>Both at the same time; the first one alternates.</summary>
    private static async Task<(FaultException? One, FaultException? Other)> Both(int round, Func<Task> one, Func<Task> other)
    {
        var oneIsFirst = round % 2 == 0;
        var early = Outcome(oneIsFirst ? one : other);
        var late = await Later(oneIsFirst ? other : one, round);
        return oneIsFirst ? (await early, late) : (late, await early);
    }

    private static async Task<FaultException?> Later(Func<Task> call, int turns)
    {
        for (var turn = 0; turn < turns; turn++) await Task.Yield();
        return await Outcome(call);
    }

    private static async Task<FaultException?> Outcome(Func<Task> call)
    {
        try
        {
            await call();
            return null;
        }
        catch (FaultException exception)
        {
            return exception;
        }
    }

    private static void AssertOneWins(FaultException? one, FaultException? other, params string[] codes)
    {
        var loser = Assert.Single([one, other], outcome => outcome is not null);
        Assert.Contains(loser!.Fault.Code, codes);
    }
}

using Instances.Appliances;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests.Doctor;

/// <summary>Cases that a cluster cannot show if its library is the store of every host.</summary>
public sealed class CheckupTests
{
    private static readonly HostId Host = new("host-1");

    private static readonly HostView View = new(Host, "simulated", "simulated", 1, 1, 1, 1, 0, 16, 16, HostStatus.Available);

    private static readonly Snapshot Empty = new(
        [View], new Dictionary<HostId, HostInventory> { [Host] = new([], [], []) }, new([], []), [], [], [], [], new HashSet<ImageId>(), new HashSet<ImageId>(),
        new HashSet<LayerId>(), [], new Dictionary<OperationId, OperationView>(), new HashSet<GrainId>(), new HashSet<OperationId>());

    [Fact]
    public void Examine_AnEmptyDatacenter_FindsNothing() => Assert.Empty(Examine(Empty));

    [Fact]
    public void Examine_ALibraryThatIsAway_IsFoundAndNothingIsTakenForLost()
    {
        var image = new ImageView(
            ImageId.New(), "debian", ImageKind.Master, ImageStatus.Ready, null, null, 1, [new([new(LayerId.New(), null, 1, ImageId.New())], 1)], default, null, null, null, null);

        Assert.Equal("library-away", Assert.Single(Examine(Empty with { Library = null, Images = [image] })).Code);
        Assert.Equal(["image-layer-missing", "image-manifest-missing"], Examine(Empty with { Images = [image] }).Select(symptom => symptom.Code));
        Assert.Equal("image-layer-missing", Assert.Single(Examine(Empty with { Images = [image with { Status = ImageStatus.Retired }] })).Code);
    }

    [Fact]
    public void Examine_LayersOfAHost_AreOrphansWhereNobodyRefersToThem()
    {
        var (orphan, referenced, used, shared) = (LayerId.New(), LayerId.New(), LayerId.New(), LayerId.New());
        var machine = new MachineObservation(VirtualMachineId.New(), ApplianceId.New(), VirtualMachineStatus.Running, [new([used], 1)], [], 1, 1, Hold: null, OperationId.New());
        var snapshot = Empty with
        {
            Inventories = new Dictionary<HostId, HostInventory> { [Host] = new([machine], [], [orphan, referenced, used, shared]) },
            Machines = [Row(machine, Host)],
            Referenced = new HashSet<LayerId> { referenced },
            Library = new([shared], []),
        };

        var symptoms = Examine(snapshot);

        Assert.Equal([("host-layer-orphan", $"layer {orphan} on host {Host}"), ("layer-orphan", $"layer {shared}")], symptoms.Select(symptom => symptom.Key).Order());
        Assert.Contains(symptoms, symptom => symptom.Remedy == new Remedy.RemoveLayer(Host, orphan));
    }

    [Fact]
    public void Examine_AMachineOnTwoHostsOfWhichNoRecordPlacesAny_RemovesBoth()
    {
        var other = new HostId("host-2");
        var machine = new MachineObservation(VirtualMachineId.New(), ApplianceId.New(), VirtualMachineStatus.Running, [new([LayerId.New()], 1)], [], 1, 1, Hold: null, OperationId.New());
        var snapshot = Empty with { Inventories = new Dictionary<HostId, HostInventory> { [Host] = new([machine], [], []), [other] = new([machine with { }], [], []) } };

        var symptoms = Examine(snapshot);

        Assert.Equal(["virtual-machine-twice", "virtual-machine-orphan"], symptoms.Select(symptom => symptom.Code));
        Assert.Equal([Host, other], symptoms.Select(symptom => Assert.IsType<Remedy.RemoveOrphan>(symptom.Remedy).Host));
    }

    [Fact]
    public void Examine_TwoSilosOfOneHost_NamesBoth()
    {
        var snapshot = Empty with { HostSilos = [new("host-1", "10.0.0.1:11111"), new("host-2", "10.0.0.2:11111"), new("host-1", "10.0.0.3:11111")] };

        var symptom = Assert.Single(Examine(snapshot));

        Assert.Equal(("host-name-twice", "host host-1", null), (symptom.Code, symptom.Subject, symptom.Remedy));
        Assert.Contains("10.0.0.1:11111 and 10.0.0.3:11111", symptom.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(VirtualMachineStatus.Deploying)]
    [InlineData(VirtualMachineStatus.Capturing)]
    [InlineData(VirtualMachineStatus.Undeploying)]
    public void Examine_AMachineInBetweenWhoseApplianceRests_IsStuck(VirtualMachineStatus status)
    {
        var machine = new MachineObservation(VirtualMachineId.New(), ApplianceId.New(), VirtualMachineStatus.Running, [], [], 1, 1, Hold: null, OperationId.New());
        var snapshot = Empty with { Inventories = new Dictionary<HostId, HostInventory> { [Host] = new([machine], [], []) }, Machines = [Row(machine, Host) with { Status = status }] };
        var busy = new ApplianceView(machine.Appliance, "shop", null, ApplianceStatus.Deploying, null, [], default);

        Assert.Equal("virtual-machine-stuck", Assert.Single(Examine(snapshot)).Code);
        Assert.Equal("appliance-stuck", Assert.Single(Examine(snapshot with { Appliances = [busy] })).Code);
    }

    [Theory]
    [InlineData(VirtualMachineStatus.Running, "QEMU does not answer", "virtual-machine-trouble")]
    [InlineData(VirtualMachineStatus.Paused, "the disk is full", "virtual-machine-trouble")]
    [InlineData(VirtualMachineStatus.Paused, null, "virtual-machine-paused")]
    public void Examine_AMachineThatItsHostReportsInTrouble_IsFound(VirtualMachineStatus status, string? trouble, string code)
    {
        var machine = new MachineObservation(VirtualMachineId.New(), ApplianceId.New(), status, [], [], 1, 1, Hold: null, OperationId.New(), Trouble: trouble);
        var snapshot = Empty with
        {
            Inventories = new Dictionary<HostId, HostInventory> { [Host] = new([machine], [], []) },
            Machines = [Row(machine, Host) with { WishedStatus = VirtualMachineStatus.Running }],
        };

        var symptom = Assert.Single(Examine(snapshot));

        Assert.Equal(code, symptom.Code);
        Assert.Contains(trouble ?? "without a request", symptom.Message, StringComparison.Ordinal);
        Assert.Equal(trouble is null ? new Remedy.Resume(Host, machine.Id) : null, symptom.Remedy);
        Assert.DoesNotContain(
            Examine(snapshot with { Appliances = [new(machine.Appliance, "shop", null, ApplianceStatus.Bundling, OperationId.New(), [], default)] }), found => found.Code == code);
    }

    [Fact]
    public void Examine_AnOperationWhoseStepIsRepeated_IsStuckForItsReason()
    {
        var (appliance, operation) = (ApplianceId.New(), OperationId.New());
        var view = new OperationView(
            operation, OperationKind.Undeploy, OperationStatus.Running, appliance, null, "undeploy", [new("undeploy", StepStatus.Running, Problem: "The host h is unreachable.")], [], default, null,
            Version: 1, Cancellable: false, null, null);

        var symptom = Assert.Single(Examine(Empty with
        {
            Appliances = [new(appliance, "shop", null, ApplianceStatus.Undeploying, operation, [], default)],
            Operations = new Dictionary<OperationId, OperationView> { [operation] = view },
        }));

        Assert.Equal("operation-stuck", symptom.Code);
        Assert.Contains("The host h is unreachable. Repair the cause, or force the operation.", symptom.Message, StringComparison.Ordinal);
    }

    private static IReadOnlyList<Symptom> Examine(Snapshot snapshot) => Checkup.Examine(snapshot, DateTimeOffset.UnixEpoch, TimeSpan.FromMinutes(10));

    private static VirtualMachineView Row(MachineObservation machine, HostId host) => new(
        machine.Id, machine.Appliance, "web", machine.Status, ImageId.New(), [], host, machine.Disks, default);
}

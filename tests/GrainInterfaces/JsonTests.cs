using System.Text.Json;
using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances;

/// <summary>Clients, the database's projection and later releases read the JSON form: so its names must not change.</summary>
public sealed class JsonTests
{
    private const string Id = "019cb3a1-0000-7000-8000-00000000000a";
    private static readonly DateTimeOffset At = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    [Fact]
    public void ApplianceView_AtRest_LeavesOutWhatIsNull()
    {
        var view = new ApplianceView(ApplianceId.Parse(Id), "shop", null, ApplianceStatus.Undeployed, null, [VirtualMachineId.Parse(Id)], At);

        AssertForm(
            view,
            $$"""{"id":"{{Id}}","name":"shop","status":"undeployed","virtualMachines":["{{Id}}"],"createdAt":"2026-01-02T03:04:05+00:00","enterprise":"00000000-0000-0000-0000-000000000000","version":1}""");
    }

    [Fact]
    public void OperationView_WithNothingYet_RoundTrips() => AssertRoundTrip(new OperationView(
        OperationId.Parse(Id), OperationKind.CreateInstance, OperationStatus.Running, ApplianceId.Parse(Id), null, null,
        [new("accept", StepStatus.Waiting)], [new(VirtualMachineId.Parse(Id), "web", "waiting")], At, null, 1, true, null, null));

    [Fact]
    public void OperationView_Succeeded_HasItsNames()
    {
        var view = new OperationView(
            OperationId.Parse(Id), OperationKind.CreateInstance, OperationStatus.Succeeded, ApplianceId.Parse(Id), null, null, [], [], At, At, 7, false, null,
            new([new(VirtualMachineId.Parse(Id), ImageId.Parse(Id), "tiny", ConsistencyLevel.Application)], 4.5, 1024, [ImageId.Parse(Id)], []));

        AssertForm(
            view,
            $$"""
            {"id":"{{Id}}","kind":"createInstance","status":"succeeded","appliance":"{{Id}}","steps":[],"virtualMachines":[],
            "startedAt":"2026-01-02T03:04:05+00:00","finishedAt":"2026-01-02T03:04:05+00:00","version":7,"cancellable":false,
            "result":{"instances":[{"virtualMachine":"{{Id}}","image":"{{Id}}","imageName":"tiny","consistency":"application"}],
            "consistencyWindowMs":4.5,"diskBytesWritten":1024,"retired":["{{Id}}"],"kept":[]},"forced":false,"isFinished":true}
            """.Replace("\n", "", StringComparison.Ordinal));
    }

    [Fact]
    public void Fault_HasItsNames() =>
        AssertForm(FaultException.NotFound("image-not-found", "No.").Fault, """{"kind":"notFound","code":"image-not-found","message":"No."}""");

    [Fact]
    public void VirtualMachineSpec_WithoutOptionalParts_LeavesThemToTheImage()
    {
        var spec = Read<VirtualMachineSpec>($$"""{"name":"web","image":"{{Id}}"}""");

        Assert.Equal(new VirtualMachineSpec("web", ImageId.Parse(Id)), spec);
        Assert.Null(spec.Cpus);
        Assert.Null(spec.MemoryBytes);
    }

    [Theory]
    [InlineData("""{"image":"019cb3a1-0000-7000-8000-00000000000a"}""")]
    [InlineData("""{"name":"web"}""")]
    [InlineData("""{"name":null,"image":"019cb3a1-0000-7000-8000-00000000000a"}""")]
    [InlineData("""{"name":"web","image":null}""")]
    [InlineData("""{"name":"web","image":"web"}""")]
    public void VirtualMachineSpec_WithoutWhatItNeeds_IsRejected(string json) => Assert.Throws<JsonException>(() => Read<VirtualMachineSpec>(json));

    [Theory, InlineData("\"Freeze\""), InlineData("\"freeze\"")]
    public void Enum_ByName_IsRead(string json) => Assert.Equal(Quiesce.Freeze, Read<Quiesce>(json));

    [Theory, InlineData("0"), InlineData("\"0\""), InlineData("\"froze\""), InlineData("null")]
    public void Enum_ByAnythingElse_IsRejected(string json) => Assert.Throws<JsonException>(() => Read<Quiesce>(json));

    /// <summary>Files and records that were written before enterprises existed.</summary>
    [Fact]
    public void Forms_WithoutAnEnterprise_AreOfTheDefaultOneAndPrivate()
    {
        var manifest = Read<ImageManifest>($$"""{"id":"{{Id}}","name":"tiny","kind":"master","disks":[],"createdAt":"2026-01-02T03:04:05+00:00","schema":1,"details":{},"pinned":false}""");
        var command = Read<ImportCommand>("""{"name":"tiny","format":"raw"}""");
        var view = Read<ApplianceView>($$"""{"id":"{{Id}}","name":"shop","status":"undeployed","virtualMachines":[],"createdAt":"2026-01-02T03:04:05+00:00"}""");

        Assert.Equal((EnterpriseId.Default, ImageSharing.Private), (manifest.Enterprise, manifest.Sharing));
        Assert.Equal(new ImportCommand("tiny", ImageFormat.Raw), command);
        Assert.Equal(EnterpriseId.Default, view.Enterprise);
    }

    private static void AssertForm<T>(T value, string json)
    {
        Assert.Equal(json, Write(value));
        AssertRoundTrip(value);
    }

    private static void AssertRoundTrip<T>(T value) => Assert.Equal(Write(value), Write(Read<T>(Write(value))));

    private static string Write<T>(T value) => JsonSerializer.Serialize(value, InstancesJson.Options);

    private static T Read<T>(string json) => JsonSerializer.Deserialize<T>(json, InstancesJson.Options)!;
}

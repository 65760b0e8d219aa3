using System.Net;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Client;

public sealed class InstancesClientTests(Gateway gateway)
{
    private readonly InstancesClient _client = new(gateway.Http);

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Appliance_WithAMachine_IsCreatedAndRead()
    {
        var appliance = await _client.CreateAppliance(new("shop"), Cancelled);
        var machine = await _client.AddVirtualMachine(appliance.Id, new("web", ImageId.New()), Cancelled);

        Assert.Equal("shop", (await _client.GetAppliance(appliance.Id, Cancelled)).Name);
        Assert.Equal([machine.Id], (await _client.ListVirtualMachines(appliance.Id, Cancelled)).Select(item => item.Id));
        Assert.Equal(VirtualMachineStatus.Running, (await _client.Power(machine.Id, PowerAction.Reset, Cancelled)).Status);
        Assert.Contains("last 65536", await _client.ReadConsole(machine.Id, Cancelled), StringComparison.Ordinal);
    }

    [Fact]
    public async Task CreateInstance_AllAndAChoice_ArriveAsTheyWere()
    {
        var appliance = ApplianceId.New();
        await _client.CreateInstance(appliance, new(UpdateImages: true), Cancelled);
        Assert.Equal(new CreateInstanceCommand(UpdateImages: true), gateway.Datacenter.Commands[appliance]);

        var machine = VirtualMachineId.New();
        await _client.CreateInstance(appliance, new([machine], Quiesce: Quiesce.None, Undeploy: false), Cancelled);
        Assert.Equal([machine], gateway.Datacenter.Commands[appliance].VirtualMachines!);
        Assert.Equal((Quiesce.None, false), (gateway.Datacenter.Commands[appliance].Quiesce, gateway.Datacenter.Commands[appliance].Undeploy));
    }

    [Fact]
    public async Task Import_Bytes_IsWatchedToItsEnd()
    {
        var name = Guid.NewGuid().ToString();
        var accepted = await _client.ImportImage(name, ImageFormat.Qcow2, new MemoryStream(new byte[5000]), sha256: null, Cancelled);
        var versions = new List<long>();
        var script = gateway.Datacenter.Operations[accepted.Id];

        var ended = await _client.WaitFor(
            accepted,
            version =>
            {
                versions.Add(version.Version);
                if (version.Version < 3) script.Publish(version.Version + 1, version.Version == 2 ? OperationStatus.Succeeded : OperationStatus.Running);
            },
            Cancelled);

        Assert.Equal(OperationStatus.Succeeded, ended.Status);
        Assert.Equal(3, versions[^1]);
        Assert.Equal(versions.Order(), versions);
        Assert.Equal(5000, gateway.DataPlane.Received[name]);
    }

    [Fact]
    public async Task Image_ThatIsNotThere_IsNull() => Assert.Null(await _client.FindImage(ImageId.New(), Cancelled));

    [Fact]
    public async Task Image_ThatIsChangedAndDeleted_IsAsTheServerSays()
    {
        var (id, search) = (ImageId.New(), Guid.NewGuid().ToString());
        gateway.Datacenter.Images[id] = (new("debian"), 1);

        Assert.True((await _client.ChangeImage(id, new { Pinned = true }, ifVersion: 1, Cancelled)).Pinned);
        var stale = await Assert.ThrowsAsync<ProblemException>(() => _client.ChangeImage(id, new { Pinned = false }, ifVersion: 1, Cancelled));
        Assert.Equal((HttpStatusCode.PreconditionFailed, "image-changed"), (stale.Status, stale.Code));
        Assert.Equal(id, (await _client.RestoreImage(id, Cancelled)).Id);
        Assert.Equal(id, (await _client.GetLineage(id, Cancelled)).Image.Id);
        Assert.Empty(await _client.ListUsers(id, Cancelled));
        Assert.True((await _client.DeleteImageWithSlaves(id, dryRun: true, Cancelled)).DryRun);
        Assert.False((await _client.DeleteImageWithSlaves(id, dryRun: false, Cancelled)).DryRun);
        Assert.Null(await _client.FindImage(id, Cancelled));
        await _client.ListImages(new(Search: search, Labels: ["a=b", "c"], CreatedAfter: DateTimeOffset.UnixEpoch, Order: Instances.Catalogue.ImageOrder.Name, Descending: true), Cancelled);
        var filter = gateway.Datacenter.Filters[search];
        Assert.Equal(["a=b", "c"], filter.Labels!);
        Assert.Equal((DateTimeOffset.UnixEpoch, Instances.Catalogue.ImageOrder.Name, true), (filter.CreatedAfter!.Value, filter.Order, filter.Descending));
    }

    [Fact]
    public async Task Refusal_IsThrownWithItsCodeAndWords()
    {
        var refusal = await Assert.ThrowsAsync<ProblemException>(() => _client.GetAppliance(ApplianceId.New(), Cancelled));

        Assert.Equal((HttpStatusCode.NotFound, "appliance-not-found", "There is no such appliance."), (refusal.Status, refusal.Code, refusal.Message));
    }

    /// <summary>The first answer is lost, and the repeat finds the resource that the first request created.</summary>
    [Fact]
    public async Task Post_ThatFoundSomethingAway_IsRepeatedUnderTheSameKey()
    {
        var losing = new LosingHandler();
        using var http = new HttpClient(losing) { BaseAddress = gateway.Http.BaseAddress };
        var name = Guid.NewGuid().ToString();

        var appliance = await new InstancesClient(http).CreateAppliance(new(name), Cancelled);

        Assert.Equal(2, losing.Requests);
        Assert.Equal([appliance.Id], gateway.Datacenter.Appliances.Where(pair => pair.Value.Name == name).Select(pair => pair.Key));
    }

    [Fact]
    public async Task Datacenter_ThatStaysAway_IsGivenUp()
    {
        var id = ApplianceId.New();
        gateway.Datacenter.Failures[id.Value] = FaultException.Unavailable("host-unavailable", "The host is away.");

        var refusal = await Assert.ThrowsAsync<ProblemException>(() => _client.GetAppliance(id, Cancelled));

        Assert.Equal("host-unavailable", refusal.Code);
    }

    /// <summary>The client's own timeout is too long for a test. So the timeout of its HTTP client ends the requests here, in the same way.</summary>
    [Fact]
    public async Task Export_ThatGetsNoAnswer_EndsWithATimeout()
    {
        using var silent = new SilentHandler();
        using var http = new HttpClient(silent) { BaseAddress = gateway.Http.BaseAddress, Timeout = TimeSpan.FromMilliseconds(20) };

        await Assert.ThrowsAsync<TimeoutException>(() => new InstancesClient(http).ExportImage(ImageId.New(), ExportFormat.Raw, compression: null, Stream.Null, Cancelled));

        Assert.Equal(InstancesClient.MaxAttempts, silent.Requests);
    }

    [Fact]
    public async Task Export_ThatTheCallerEnds_IsNoTimeout()
    {
        using var silent = new SilentHandler();
        using var http = new HttpClient(silent) { BaseAddress = gateway.Http.BaseAddress, Timeout = Timeout.InfiniteTimeSpan };
        using var end = new CancellationTokenSource(TimeSpan.FromMilliseconds(20));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new InstancesClient(http).ExportImage(ImageId.New(), ExportFormat.Raw, compression: null, Stream.Null, end.Token));
    }

    private sealed class SilentHandler : HttpMessageHandler
    {
        public int Requests { get; private set; }

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Requests++;
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
            throw new InvalidOperationException("The wait has no end.");
        }
    }

    private sealed class LosingHandler() : DelegatingHandler(new SocketsHttpHandler())
    {
        public int Requests { get; private set; }

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var response = await base.SendAsync(request, cancellationToken);
            if (++Requests > 1) return response;
            response.Dispose();
            throw new HttpRequestException("The connection broke.");
        }
    }
}

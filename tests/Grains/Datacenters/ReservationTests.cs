using Instances.Appliances;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Datacenters;

/// <summary>Reservations of a placed operation on a host, until they are released or the operation has ended.</summary>
public sealed class ReservationTests(ClusterFixture fixture) : ClusterTest(fixture), IAsyncDisposable
{
    private readonly List<OperationId> _operations = [];

    private long Half => Cluster.HostOptions.MemoryBytes / 2;

    private IDatacenterGrain Datacenter => Cluster.Grains.Datacenter();

    [Fact]
    public async Task Place_Repeated_AnswersTheSameAndReservesOnce()
    {
        var (operation, request) = (await Begin(), Request(Half));

        var first = await Place(operation, request);
        var again = await Place(operation, request);

        Assert.Equal(first, again);
        Assert.Equal(Half, await Free());
    }

    [Fact]
    public async Task Place_AfterACrash_KeepsWhatWasReserved()
    {
        var (operation, request) = (await Begin(), Request(Half));
        var before = await Place(operation, request);

        await Cluster.Crash();

        Assert.Equal(Half, await Free());
        Assert.Equal(before, await Place(operation, request));
        Assert.Equal("no-capacity", (await Assert.ThrowsAsync<FaultException>(async () => await Place(await Begin(), Request(Half), Request(Half)))).Fault.Code);
    }

    [Fact]
    public async Task Place_WhenAnotherOperationEndedWithoutItsRelease_TakesWhatItHeld()
    {
        var lost = await Begin();
        await Place(lost, Request(Half), Request(Half));
        await Assert.ThrowsAsync<FaultException>(async () => await Place(await Begin(), Request(Half)));
        await Cluster.Grains.Operation(lost).Finish(new(
            OperationStatus.Failed, new(OperationStatus.Failed, [], [], Cancellable: false), TimeProvider.System.GetUtcNow(), Fault: null, Result: null));

        Assert.Single(await Place(await Begin(), Request(Half)));

        Assert.Equal(Half, await Free());
    }

    [Fact]
    public async Task Place_OfAnOperationThatWasNeverBegun_IsDroppedByTheNext()
    {
        await Place(OperationId.New(), Request(Half), Request(Half));

        Assert.Single(await Place(await Begin(), Request(Half)));
    }

    [Fact]
    public async Task Release_Repeated_FreesWhatWasHeld()
    {
        var operation = await Begin();
        await Place(operation, Request(Half));

        await Datacenter.Release(operation);
        await Datacenter.Release(operation);

        Assert.Equal(Cluster.HostOptions.MemoryBytes, await Free());
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var operation in _operations) await Datacenter.Release(operation);
        Dispose();
        GC.SuppressFinalize(this);
    }

    private static PlacementRequest Request(long memory) => new(VirtualMachineId.New(), 1, memory, []);

    private Task<IReadOnlyList<Placement>> Place(OperationId operation, params PlacementRequest[] machines)
    {
        _operations.Add(operation);
        return Datacenter.Place(operation, ApplianceId.New(), machines);
    }

    /// <summary>A running operation, according to its record.</summary>
    private async Task<OperationId> Begin()
    {
        var operation = OperationId.New();
        await Cluster.Grains.Operation(operation).Begin(new(OperationKind.Deploy, ApplianceId.New(), Image: null, [], [], TimeProvider.System.GetUtcNow()));
        return operation;
    }

    private async Task<long> Free() => Assert.Single(await Datacenter.Hosts()).FreeMemoryBytes;
}

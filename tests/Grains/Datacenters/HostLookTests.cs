using Instances.Appliances;
using Instances.Datacenters;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Datacenters;

/// <summary>The effect of a reservation on a host's free capacity.</summary>
public sealed class HostLookTests
{
    private static readonly HostView View = new(new("a"), "simulated", "simulated", 1, 100, 80, 60, 0, 16, 10, HostStatus.Available);
    private static readonly RegisteredHost Host = RegisteredHost.Of(View, maintenance: false);
    private static readonly LayerNeed Layer = new(LayerId.New(), 50);
    private static readonly ReservedMachine Machine = new(VirtualMachineId.New(), 2, 30);

    [Fact]
    public void Room_WithAReservation_IsWithoutIt()
    {
        var room = Look([], [Layer.Layer], Reserved()).Room();

        Assert.Equal((8, 50, 10), (room.FreeCpus, room.FreeMemoryBytes, room.FreeDiskBytes));
        Assert.Empty(room.Lacking);
    }

    [Fact]
    public void Room_OfAHostThatNeedsMemoryForEachMachine_IsWithoutThatOfReservedOnes()
    {
        var look = Look([], [], Reserved());

        Assert.Equal(45, (look with { Capacity = look.Capacity! with { MachineOverheadBytes = 5 } }).Room().FreeMemoryBytes);
    }

    [Fact]
    public void Room_WithAMachineAndALayerThatTheHostHasByNow_CountsThemOnce()
    {
        var room = Look([Machine.Id], [], Reserved()).Room();

        Assert.Equal((View.FreeCpus, View.FreeMemoryBytes, View.FreeDiskBytes), (room.FreeCpus, room.FreeMemoryBytes, room.FreeDiskBytes));
    }

    [Fact]
    public void Room_WithTwoReservationsOfOneLayer_CountsItOnce()
    {
        var room = Look([], [Layer.Layer], Reserved(), Reserved() with { Machines = [] }).Room();

        Assert.Equal(10, room.FreeDiskBytes);
    }

    [Fact]
    public void Room_OfAHostInMaintenance_SaysSo() =>
        Assert.Equal(HostStatus.Maintenance, new HostLook(Host with { Maintenance = true }, new(View, [], []), []).Room().Status);

    [Fact]
    public async Task View_OfAHostThatIsAway_HasWhatItRegisteredWithAndNothingFree()
    {
        var view = await new HostLook(Host, Capacity: null, [Reserved()]).View(_ => Task.FromResult(3));

        Assert.Equal(View with { Status = HostStatus.Away, FreeCpus = 0, FreeMemoryBytes = 0, FreeDiskBytes = 0, VirtualMachines = 3 }, view);
    }

    private static Reservation Reserved() => new(OperationId.New(), ApplianceId.New(), View.Id, [Machine], [Layer]);

    private static HostLook Look(VirtualMachineId[] machines, LayerId[] lacking, params Reservation[] reservations) => new(Host, new(View, machines, lacking), reservations);
}

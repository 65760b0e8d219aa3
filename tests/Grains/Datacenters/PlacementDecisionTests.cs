using CsCheck;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Datacenters;

public sealed class PlacementDecisionTests
{
    private static readonly LayerNeed Layer = new(LayerId.New(), 100);

    /// <summary>Hosts as their free memory, machines as their memory; where each machine goes, the largest first.</summary>
    [Theory]
    [InlineData(PlacementPolicy.Spread, "10 10 10", "1 1 1 1", "a b c a")]
    [InlineData(PlacementPolicy.Spread, "10 30 10", "1 1", "b b")]
    [InlineData(PlacementPolicy.Spread, "10 8", "4 2 1", "a b a")]
    [InlineData(PlacementPolicy.Spread, "8 7", "5 4 4 2", "b a a b")]
    [InlineData(PlacementPolicy.Packed, "10 10 10", "4 4 2 1", "a a a b")]
    [InlineData(PlacementPolicy.Packed, "30 5 10", "6 5 4", "c b c")]
    [InlineData(PlacementPolicy.Packed, "8 7", "5 4 4 2", "b a a b")]
    [InlineData(PlacementPolicy.Spread, "5", "", "")]
    public void Decide_ByTable_PlacesEachMachine(PlacementPolicy policy, string hosts, string machines, string expected)
    {
        var requests = Numbers(machines).Select(memory => Machine(memory)).ToList();

        var placements = Placed(PlacementDecision.Decide(Hosts(Numbers(hosts)), requests, policy));

        Assert.Equal(expected, string.Join(' ', requests.Select(request => placements[request.Machine])));
    }

    [Theory]
    [InlineData(HostStatus.Maintenance)]
    [InlineData(HostStatus.Away)]
    public void Decide_WithAHostThatTakesNone_LeavesItOut(HostStatus status)
    {
        HostRoom[] hosts = [Room("a", 100) with { Status = status }, Room("b", 1)];

        Assert.Equal(["b"], Placed(PlacementDecision.Decide(hosts, [Machine(1)], PlacementPolicy.Spread)).Values);
        Assert.IsType<PlacementDecision.Refuse>(PlacementDecision.Decide(hosts, [Machine(2)], PlacementPolicy.Spread));
    }

    [Fact]
    public void Decide_OfMachinesThatShareLayers_CountsEachLayerOnceAHostAndOnlyWhereItIsLacking()
    {
        HostRoom[] hosts = [Room("a", 10) with { FreeDiskBytes = Layer.Bytes, Lacking = new HashSet<LayerId> { Layer.Layer } }];
        PlacementRequest[] machines = [Machine(1, layers: Layer), Machine(1, layers: Layer)];

        Assert.IsType<PlacementDecision.Place>(PlacementDecision.Decide(hosts, machines, PlacementPolicy.Spread));
        Assert.IsType<PlacementDecision.Refuse>(PlacementDecision.Decide([hosts[0] with { FreeDiskBytes = Layer.Bytes - 1 }], machines, PlacementPolicy.Spread));
        Assert.IsType<PlacementDecision.Place>(PlacementDecision.Decide([hosts[0] with { FreeDiskBytes = 0, Lacking = new HashSet<LayerId>() }], machines, PlacementPolicy.Spread));
    }

    [Fact]
    public void Decide_OnAHostThatNeedsMemoryForEachMachine_CountsIt()
    {
        HostRoom[] hosts = [Room("a", 10) with { MachineOverheadBytes = 2 }];

        Assert.IsType<PlacementDecision.Place>(PlacementDecision.Decide(hosts, [Machine(3), Machine(3)], PlacementPolicy.Spread));
        Assert.IsType<PlacementDecision.Refuse>(PlacementDecision.Decide(hosts, [Machine(3), Machine(4)], PlacementPolicy.Spread));
    }

    [Fact]
    public void Decide_WhenNothingFits_NamesWhatWasAskedForAndWhatEachHostHas()
    {
        HostRoom[] hosts =
        [
            new(new("a"), HostStatus.Available, 1, 3L << 20, 5L << 30, new HashSet<LayerId>()),
            new(new("b"), HostStatus.Maintenance, 64, 1L << 40, 6L << 30, new HashSet<LayerId>()),
            new(new("c"), HostStatus.Away, 0, 0, 0, new HashSet<LayerId>()),
        ];

        var fault = Refused(PlacementDecision.Decide(hosts, [Machine(2L << 20, cpus: 2, layers: Layer), Machine(1L << 20, layers: Layer)], PlacementPolicy.Packed));

        Assert.Equal((FaultKind.Capacity, "no-capacity"), (fault.Kind, fault.Code));
        foreach (var part in (string[])
            ["one that asks for 2 CPUs and 2 MiB", "2 virtual machines ask for 3 CPUs and 3 MiB of memory, on images of 100 bytes", "a has 1 CPU, 3 MiB of memory and 5 GiB of disk free;",
             "b has 64 CPUs, 1024 GiB of memory and 6 GiB of disk free, and is left out: it is in maintenance", "c is left out: it is unreachable"])
            Assert.Contains(part, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Decide_WithoutAHost_SaysSo() =>
        Assert.Contains("There is no host", Refused(PlacementDecision.Decide([], [Machine(1)], PlacementPolicy.Spread)).Message, StringComparison.Ordinal);

    [Fact]
    public void Decide_WithMoreHostsThanASentenceHolds_CountsTheOthers()
    {
        var fault = Refused(PlacementDecision.Decide(Hosts([.. Enumerable.Repeat(1L, PlacementDecision.NamedHosts + 3)]), [Machine(2)], PlacementPolicy.Spread));

        Assert.Contains("; and 3 more hosts.", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Decide_Always_StaysWithinWhatEachHostHas() =>
        Gen.Select(GenRooms, GenMachines, Gen.Enum<PlacementPolicy>()).Sample((rooms, machines, policy) =>
        {
            if (PlacementDecision.Decide(rooms, machines, policy) is not PlacementDecision.Place { Placements: var placements }) return;
            Assert.Equal(machines.Select(machine => machine.Machine.Value).Order(), placements.Select(placement => placement.Machine.Value).Order());
            var requests = machines.ToDictionary(machine => machine.Machine);
            foreach (var group in placements.GroupBy(placement => placement.Host, placement => requests[placement.Machine]))
            {
                var room = rooms.Single(room => room.Id == group.Key);
                Assert.Equal(HostStatus.Available, room.Status);
                Assert.True(group.Sum(machine => machine.MemoryBytes) <= room.FreeMemoryBytes);
                Assert.True(group.Sum(machine => machine.Cpus) <= room.FreeCpus);
                var fetched = group.SelectMany(machine => machine.Layers).Where(need => room.Lacking.Contains(need.Layer)).DistinctBy(need => need.Layer);
                Assert.True(fetched.Sum(need => need.Bytes) <= room.FreeDiskBytes);
                var ports = group.SelectMany(machine => machine.HostPorts ?? []).ToList();
                Assert.Equal(ports.Count, ports.Union(ports).Except(room.TakenPorts!).Count());
            }
        });

    /// <summary>Machines of one size, of which some ask for one port: they are refused only if no assignment exists, and for the reason that holds.</summary>
    [Fact]
    public void Decide_OfEqualMachinesWithOneHostPort_PlacesThemWhereverTheyFit() =>
        Gen.Select(Gen.Select(Gen.Int[0, 3], Gen.Bool).List[1, 5], Gen.Int[0, 5], Gen.Int[0, 4], Gen.Enum<PlacementPolicy>()).Sample((hosts, plain, asking, policy) =>
        {
            var rooms = hosts.Select((host, index) => Room(NameOf(index), host.Item1) with { TakenPorts = host.Item2 ? [Ports[0]] : [] }).ToList();
            PlacementRequest[] machines = [.. Equal(plain), .. Equal(asking).Select(machine => machine with { HostPorts = [Ports[0]] })];
            var free = hosts.Count(host => host is (> 0, false));

            var decision = PlacementDecision.Decide(rooms, machines, policy);

            Assert.Equal(asking <= free && plain + asking <= hosts.Sum(host => host.Item1), decision is PlacementDecision.Place);
            if (decision is PlacementDecision.Refuse refusal)
                Assert.Equal(asking > free && hosts.Any(host => host.Item1 > 0) ? "port-in-use" : "no-capacity", refusal.Fault.Code);
        });

    /// <summary>The machine with the port goes first. A machine without a port that finds no room is not refused for a port.</summary>
    [Fact]
    public void Decide_OfAPortThatIsTakenOnOneOfTwoHosts_UsesTheOther()
    {
        HostRoom[] hosts = [Room("a", 1), Room("b", 1) with { TakenPorts = [Ports[0]] }];
        PlacementRequest[] machines = [Machine(1), Machine(1) with { HostPorts = [Ports[0]] }];

        Assert.Equal(["b", "a"], machines.Select(machine => Placed(PlacementDecision.Decide(hosts, machines, PlacementPolicy.Spread))[machine.Machine]));
        Assert.Equal("no-capacity", Refused(PlacementDecision.Decide(hosts, [.. machines, Machine(1) with { HostPorts = [Ports[1]] }], PlacementPolicy.Spread)).Code);
    }

    /// <summary>A machine that fits a host that takes machines is never refused.</summary>
    [Fact]
    public void Decide_OfOneMachine_RefusesItOnlyWhereItFitsNowhere() =>
        Gen.Select(GenRooms, GenMachine, Gen.Enum<PlacementPolicy>()).Sample((rooms, machine, policy) => Assert.Equal(
            rooms.Any(room => room.Status is HostStatus.Available && room.FreeMemoryBytes >= machine.MemoryBytes && room.FreeCpus >= machine.Cpus
                && room.FreeDiskBytes >= machine.Layers.Where(need => room.Lacking.Contains(need.Layer)).Sum(need => need.Bytes)
                && !machine.HostPorts!.Any(room.TakenPorts!.Contains)),
            PlacementDecision.Decide(rooms, [machine], policy) is PlacementDecision.Place));

    [Fact]
    public void Decide_EqualMachinesSpreadOverEqualHosts_DifferByAtMostOne() =>
        Gen.Select(Gen.Int[1, 8], Gen.Int[1, 40]).Sample((hosts, machines) =>
        {
            var placements = Placed(PlacementDecision.Decide(Hosts([.. Enumerable.Repeat(100L, hosts)]), Equal(machines), PlacementPolicy.Spread));

            var counts = Enumerable.Range(0, hosts).Select(host => placements.Values.Count(name => name == NameOf(host))).ToList();
            Assert.InRange(counts.Max() - counts.Min(), 0, 1);
        });

    [Fact]
    public void Decide_EqualMachinesPackedOnEqualHosts_UseTheFewest() =>
        Gen.Select(Gen.Int[1, 8], Gen.Int[1, 40], Gen.Int[1, 10]).Sample((hosts, machines, holds) =>
        {
            var decision = PlacementDecision.Decide(Hosts([.. Enumerable.Repeat((long)holds, hosts)]), Equal(machines), PlacementPolicy.Packed);

            if (machines > hosts * holds) Assert.IsType<PlacementDecision.Refuse>(decision);
            else Assert.Equal((machines + holds - 1) / holds, Placed(decision).Values.Distinct().Count());
        });

    private static readonly LayerNeed[] Layers = [.. Enumerable.Range(1, 4).Select(bytes => new LayerNeed(LayerId.New(), bytes))];

    private static readonly HostPort[] Ports = [.. Enumerable.Range(18080, 3).Select(port => new HostPort(port, TransportProtocol.Tcp))];

    private static readonly Gen<PlacementRequest> GenMachine = Gen.Select(Gen.Int[1, 4], Gen.Long[1, 10], Gen.Int[0, 15], GenPorts).Select((cpus, memory, layers, ports) =>
        Machine(memory, cpus, [.. Layers.Where((_, index) => (layers >> index & 1) == 1)]) with { HostPorts = ports });

    private static readonly Gen<List<PlacementRequest>> GenMachines = GenMachine.List[0, 12];

    private static readonly Gen<List<HostRoom>> GenRooms =
        Gen.Select(Gen.Enum<HostStatus>(), Gen.Int[0, 16], Gen.Long[0, 40], Gen.Long[0, 10], Gen.Int[0, 15], GenPorts).List[0, 5].Select(rooms => rooms.Select((room, index) => new HostRoom(
            new(NameOf(index)), room.Item1, room.Item2, room.Item3, room.Item4, Layers.Where((_, layer) => (room.Item5 >> layer & 1) == 1).Select(need => need.Layer).ToHashSet(), TakenPorts: room.Item6)).ToList());

    /// <summary>None for most.</summary>
    private static Gen<HostPort[]> GenPorts => Gen.Int[0, 63].Select(ports => Ports.Where((_, index) => (ports >> index & 9) == 9).ToArray());

    private static string NameOf(int host) => host < 26 ? ((char)('a' + host)).ToString() : $"z{host}";

    private static List<long> Numbers(string text) =>
        [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(number => long.Parse(number, System.Globalization.CultureInfo.InvariantCulture))];

    private static List<HostRoom> Hosts(List<long> memory) => [.. memory.Select((free, index) => Room(NameOf(index), free))];

    private static HostRoom Room(string name, long memory) => new(new(name), HostStatus.Available, 1000, memory, 0, new HashSet<LayerId>());

    private static PlacementRequest Machine(long memory, int cpus = 1, params LayerNeed[] layers) => new(VirtualMachineId.New(), cpus, memory, layers);

    private static List<PlacementRequest> Equal(int count) => [.. Enumerable.Range(0, count).Select(_ => Machine(1))];

    private static Dictionary<VirtualMachineId, string> Placed(PlacementDecision decision) =>
        Assert.IsType<PlacementDecision.Place>(decision).Placements.ToDictionary(placement => placement.Machine, placement => placement.Host.Name);

    private static Fault Refused(PlacementDecision decision) => Assert.IsType<PlacementDecision.Refuse>(decision).Fault;

    [Fact]
    public void Decide_TwoMachinesWithOneHostPort_GoToTwoHosts()
    {
        var port = new HostPort(18080, TransportProtocol.Tcp);
        HostRoom[] hosts = [RoomWith("a"), RoomWith("b"), RoomWith("c", port)];
        PlacementRequest[] machines = [Asking("one"), Asking("two")];

        var placed = Assert.IsType<PlacementDecision.Place>(PlacementDecision.Decide(hosts, machines, PlacementPolicy.Packed)).Placements;
        var refused = Assert.IsType<PlacementDecision.Refuse>(PlacementDecision.Decide(hosts, [.. machines, Asking("three")], PlacementPolicy.Spread)).Fault;

        Assert.Equal(["a", "b"], placed.Select(placement => placement.Host.Name).Order());
        Assert.Equal("port-in-use", refused.Code);
        Assert.Contains("18080", refused.Message, StringComparison.Ordinal);

        PlacementRequest Asking(string name) => new(VirtualMachineId.New(), 1, 1 << 20, [], [port], name);

        static HostRoom RoomWith(string name, params HostPort[] taken) => new(new(name), HostStatus.Available, 64, 1L << 40, 1L << 40, new HashSet<LayerId>(), TakenPorts: taken);
    }
}

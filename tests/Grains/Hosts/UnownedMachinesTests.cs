using Instances.Appliances;
using Instances.Hosts;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

public sealed class UnownedMachinesTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly UnownedMachines _unowned;
    private readonly List<MachineObservation> _present = [.. Enumerable.Range(0, 12).Select(_ => Machine(VirtualMachineId.New()))];

    public UnownedMachinesTests() => _unowned = new(_time);

    [Fact]
    public void Take_OneByOneWhileTheOthersAreStillThere_StopsAtTheRule()
    {
        var taken = new List<MachineObservation>();
        foreach (var machine in _present)
        {
            _unowned.Add(machine);
            taken.AddRange(_unowned.Take(_present));
        }

        Assert.Equal(_present.Take(RemovalRule.Few), taken);
        Assert.True(_unowned.IsHeld);
        Assert.Equal(_present.Count - RemovalRule.Few, _unowned.Count);
    }

    [Fact]
    public void Take_AfterTheWindow_CountsAnew()
    {
        Add(0, RemovalRule.Few);
        Assert.Equal(RemovalRule.Few, _unowned.Take(_present).Count);
        _time.Advance(RemovalRule.Window + TimeSpan.FromSeconds(1));
        Add(RemovalRule.Few, RemovalRule.Few);

        Assert.Equal(RemovalRule.Few, _unowned.Take(_present).Count);
    }

    [Fact]
    public void Take_OfMachinesThatWait_WaitsUntilNoneIsLeft()
    {
        Add(0, 6);
        Assert.Empty(_unowned.Take(_present));
        foreach (var machine in _present.Take(5)) _unowned.Drop(machine.Id);
        _time.Advance(RemovalRule.Window * 2);
        Assert.Empty(_unowned.Take(_present));
        Assert.True(_unowned.IsHeld);

        _unowned.Drop(_present[5].Id);

        Assert.False(_unowned.IsHeld);
        Add(6, 1);
        Assert.Equal(_present[6], Assert.Single(_unowned.Take(_present)));
    }

    [Fact]
    public void Take_OfMachinesThatAreGone_ForgetsThem()
    {
        Add(0, 12);
        _present.RemoveRange(0, 6);
        for (var machine = 0; machine < 5; machine++) _present[machine] = Machine(_present[machine].Id);

        Assert.Equal(_present[5], Assert.Single(_unowned.Take(_present)));
        Assert.False(_unowned.IsHeld);
    }

    [Fact]
    public void TryBegin_OfAMachineWhoseRemovalHasFailed_CountsItOnce()
    {
        for (var attempt = 0; attempt < 10; attempt++) Assert.True(_unowned.TryBegin(_present[0].Id, _present));
        foreach (var machine in _present.Skip(1).Take(RemovalRule.Few - 1)) Assert.True(_unowned.TryBegin(machine.Id, _present));

        Assert.False(_unowned.TryBegin(_present[RemovalRule.Few].Id, _present));
    }

    private void Add(int first, int count)
    {
        foreach (var machine in _present.Slice(first, count)) _unowned.Add(machine);
    }

    private static MachineObservation Machine(VirtualMachineId id) =>
        new(id, ApplianceId.New(), VirtualMachineStatus.Running, [], [], MemoryBytes: 64L << 20, Cpus: 1, Hold: null, OperationId.New());
}

using Instances.Doctor;
using Instances.Grains.Tests.Datacenters;
using Xunit;

namespace Instances.Grains.Tests.Doctor;

/// <summary>Cases that need several hosts.</summary>
public sealed class DoctorOfHostsTests
{
    [Fact]
    public async Task Examine_AMachineOnTwoHosts_RemovesTheOneThatItsRecordPlacesElsewhere()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 2, machines: 2);
        await hosts.Deploy(await hosts.AddAppliance(machines: 1));
        var (machine, known) = hosts.Hosts["host-1"].Machines.Single();
        hosts.Hosts["host-2"].Machines[machine] = new(known.Spec);

        var report = await hosts.Grains.Doctor().Examine(fix: true);

        var finding = Assert.Single(report.Findings);
        Assert.Equal(
            ("virtual-machine-twice", FindingSeverity.Critical, $"virtual machine {machine}", true, true),
            (finding.Code, finding.Severity, finding.Subject, finding.Fixable, finding.Fixed));
        Assert.Equal([1, 0], hosts.Counts());
        Assert.All(known.Disks.SelectMany(disk => disk.Layers), layer => Assert.True(hosts.Layers.Contains(layer)));
        Assert.Empty((await hosts.Grains.Doctor().Examine(fix: false)).Findings);
    }

    [Fact]
    public async Task Examine_WithAHostThatIsAway_SaysSoAndTakesNothingForLost()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 2);
        await hosts.Deploy(await hosts.AddAppliance(machines: 3));
        await hosts.Stop("host-3");

        var report = await hosts.Grains.Doctor().Examine(fix: true);

        // The host uses the library's folder: while it cannot say which layers its machines use, no layer is removed.
        Assert.Equal(["host-away", "library-sweep-held"], report.Findings.Select(found => found.Code).Order(StringComparer.Ordinal));
        var finding = report.Findings.Single(found => found.Code == "host-away");
        Assert.Equal(("host-away", FindingSeverity.Info, "host host-3", false), (finding.Code, finding.Severity, finding.Subject, finding.Fixable));
        Assert.Contains("that should be there, 1,", finding.Message, StringComparison.Ordinal);
        Assert.Equal((3, 1, 3, 2), (report.Counts.Hosts, report.Counts.HostsAway, report.Counts.VirtualMachines, report.Counts.HostMachines));
    }
}

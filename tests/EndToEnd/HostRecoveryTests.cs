using Instances.Appliances;
using Instances.Doctor;
using Instances.Hosting;
using Instances.Hosts;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>A host that finds a database which does not know its machines, with real guests.</summary>
public sealed class HostRecoveryTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Host_WhoseDatabaseIsLost_KeepsItsGuestsAndIsAdopted()
    {
        await using var data = new Testing.DataFolder();
        var guests = data.Guests;
        ApplianceId appliance;
        VirtualMachineId web;
        await using (var first = await ServerProcess.Start(data, "--Host:Name=host-1"))
        {
            var master = await first.Client.ImportGuest();
            appliance = (await first.Client.CreateAppliance(new("shop", "what it sells"), Stop)).Id;
            web = (await first.Client.AddVirtualMachine(appliance, Guest.Spec("web", master.Id), Stop)).Id;
            await first.Client.Succeeds(await first.Client.Deploy(appliance, Stop));
            await first.Client.WaitForBoot(web, atLeast: 1);
            await first.Client.Succeeds(await first.Client.CreateInstance(appliance, new(UpdateImages: true, Undeploy: false), Stop));
        }

        var running = guests.Ids();
        Assert.Single(running);
        foreach (var file in Directory.EnumerateFiles(data, "instances.db*")) File.Delete(file);

        await using var server = await ServerProcess.Start(data, "--Library:SweepPeriod=00:00:01");
        var (client, url) = (server.Client, $"{server.Http.BaseAddress}");
        Assert.Equal(running, guests.Ids());
        var host = Assert.Single(await client.ListHosts(Stop));
        Assert.Equal((new HostId("host-1"), HostStatus.Blocked), (host.Id, host.Status));
        Assert.Contains("silo host adopt host-1", host.Problem, StringComparison.Ordinal);
        Assert.Contains("silo host adopt host-1", server.Log, StringComparison.Ordinal);
        Assert.Contains((await client.Examine(fix: true, Stop)).Findings, finding => finding is { Code: "host-unknown-to-database", Severity: FindingSeverity.Critical, Fixable: false });
        Assert.Equal(2, (await Adopt(dryRun: false)).Code);

        // The library comes first. A sweep after its rebuild leaves the disk of the guest alone.
        Assert.Equal(0, (await SiloProgram.RunHere((output, errors) => LibraryCommand.Rebuild(new(url), null, dryRun: false, json: false, output, errors, Stop))).Code);
        await Eventually.Holds(async () => (await client.GetLibraryUsage(1, Stop)) is not null && (await client.Examine(fix: true, Stop)).Findings.All(finding => finding.Code != "library-unknown-to-database"), "the library is known");
        Assert.Equal(running, guests.Ids());
        var (code, said) = await SiloProgram.Run("host", "discard", "host-1", "--url", url);
        Assert.True(code == 1, said);
        Assert.Contains($"shop/web ({web})", said, StringComparison.Ordinal);
        Assert.Equal(running, guests.Ids());

        (code, said) = await Adopt(dryRun: true);
        Assert.True(code == 0, said);
        Assert.Empty(await client.ListAppliances(Stop));
        (code, said) = await SiloProgram.Run("host", "adopt", "host-1", "--url", url);
        Assert.True(code == 0, said);
        Assert.Contains($"adopted    shop/web ({web})", said, StringComparison.Ordinal);

        var adopted = await client.GetAppliance(appliance, Stop);
        Assert.Equal(("shop", "what it sells", ApplianceStatus.Deployed), (adopted.Name, adopted.Description, adopted.Status));
        Assert.Equal(VirtualMachineStatus.Running, (await client.GetVirtualMachine(web, Stop)).Status);
        Assert.Equal(running, guests.Ids());
        Assert.Equal(HostStatus.Available, Assert.Single(await client.ListHosts(Stop)).Status);
        Assert.Empty((await client.Examine(fix: false, Stop)).Findings);

        // The recovered machine can be used: its work is captured, and deployed again.
        await client.Power(web, PowerAction.Reset, Stop);
        var before = await client.WaitForBoot(web, atLeast: 2);
        await client.Succeeds(await client.CreateInstance(appliance, new(UpdateImages: true), Stop));
        Assert.Empty(guests.Ids());
        await client.Succeeds(await client.Deploy(appliance, Stop));
        await client.WaitForBoot(web, atLeast: before + 1);

        Task<(int Code, string Output)> Adopt(bool dryRun) =>
            SiloProgram.RunHere((output, errors) => HostCommand.Adopt(new(url), null, new("host-1"), dryRun, json: false, output, errors, Stop));
    }
}

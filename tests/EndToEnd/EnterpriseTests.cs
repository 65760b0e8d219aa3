using System.Net;
using Instances.Client;
using Instances.Enterprises;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Enterprises in a real process, on real files and a real database, with a simulated hypervisor.</summary>
public sealed class EnterpriseTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Quotas_OverAKilledProcess_CountWhatThereIsAndNothingElse()
    {
        var data = ServerProcess.MakeDataFolder();
        await using (var first = await ServerProcess.Start(data, "--Host:Hypervisor=simulated"))
        {
            var acme = (await first.Client.CreateEnterprise(new("acme", new(Images: 1, VirtualMachines: 1)), id: null, Stop)).Id;
            var master = await first.Client.ImportGuest(enterprise: acme);
            var appliance = (await first.Client.CreateAppliance(new("shop") { Enterprise = acme }, Stop)).Id;
            await first.Client.AddVirtualMachine(appliance, Guest.Spec("web", master.Id), Stop);
            await first.Client.Succeeds(await first.Client.Deploy(appliance, Stop));
            await first.Client.AddVirtualMachine(appliance, Guest.Spec("db", master.Id), Stop);
            await AssertRefused(() => first.Client.Deploy(appliance, Stop), HttpStatusCode.InsufficientStorage, "quota-virtual-machines");
            await first.Kill();

            await using var second = await ServerProcess.Start(data, "--Host:Hypervisor=simulated");
            var usage = (await second.Client.GetEnterprise(acme, Stop)).Usage!;
            var machine = (await second.Client.ListVirtualMachines(appliance, Stop))[0];
            var size = master.Disks[0].VirtualSizeBytes;
            Assert.Equal(new EnterpriseUsage(master.Bytes, Images: 1, VirtualMachines: 1, Cpus: machine.Cpus, MemoryBytes: machine.MemoryBytes, VirtualBytes: size), usage);
            await AssertRefused(() => second.Client.CreateInstance(appliance, new(), Stop), HttpStatusCode.InsufficientStorage, "quota-images");
            await AssertRefused(() => second.Client.ImportGuest(enterprise: acme), HttpStatusCode.InsufficientStorage, "quota-images");

            await second.Client.ChangeEnterprise(acme, new { Quotas = new { Images = 2 } }, ifVersion: null, Stop);
            var captured = await second.Client.Succeeds(await second.Client.CreateInstance(appliance, new(), Stop));
            var slave = (await second.Client.FindImage(Assert.Single(captured.Result!.Instances!).Image, Stop))!;
            Assert.Equal(acme, slave.Enterprise);
            Assert.Equal(new EnterpriseUsage(master.Bytes + slave.Bytes, Images: 2, VirtualBytes: 2 * size), (await second.Client.GetEnterprise(acme, Stop)).Usage);
            foreach (var image in new[] { master, slave })
                Assert.Contains($"\"enterprise\":\"{acme}\"", (await File.ReadAllTextAsync(Path.Combine(data, "layers", $"{image.Id}.json"), Stop)).Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);

            await AssertRefused(() => second.Client.DeleteEnterprise(acme, Stop), HttpStatusCode.Conflict, "enterprise-not-empty");
            await second.Client.DeleteAppliance(appliance, Stop);
            await second.Client.DeleteImageWithSlaves(master.Id, dryRun: false, Stop);
            await second.Client.DeleteEnterprise(acme, Stop);
            Assert.Equal(EnterpriseId.Default, Assert.Single(await second.Client.ListEnterprises(Stop)).Id);
        }

        Directory.Delete(data, recursive: true);
    }

    [Fact]
    public async Task Image_OfAnotherEnterprise_IsUsedWhileItIsShared()
    {
        var data = ServerProcess.MakeDataFolder();
        await using (var server = await ServerProcess.Start(data, "--Host:Hypervisor=simulated"))
        {
            var acme = (await server.Client.CreateEnterprise(new("acme"), id: null, Stop)).Id;
            var master = await server.Client.ImportGuest(enterprise: acme);
            var appliance = (await server.Client.CreateAppliance(new("shop"), Stop)).Id;

            await AssertRefused(() => server.Client.AddVirtualMachine(appliance, Guest.Spec("web", master.Id), Stop), HttpStatusCode.NotFound, "image-not-found");
            Assert.Empty(await server.Client.ListImages(new(Enterprise: EnterpriseId.Default), Stop));
            await server.Client.ChangeImage(master.Id, new { Sharing = ImageSharing.AllEnterprises }, ifVersion: null, Stop);
            Assert.Equal(master.Id, Assert.Single(await server.Client.ListImages(new(Enterprise: EnterpriseId.Default), Stop)).Id);
            var machine = await server.Client.AddVirtualMachine(appliance, Guest.Spec("web", master.Id), Stop);
            await server.Client.Succeeds(await server.Client.Deploy(appliance, Stop));
            await AssertRefused(
                () => server.Client.ChangeImage(master.Id, new { Sharing = ImageSharing.Private }, ifVersion: null, Stop), HttpStatusCode.Conflict, "image-in-use", names: machine.Id.ToString());

            await server.Client.Succeeds(await server.Client.Undeploy(appliance, Stop));
            await server.Client.DeleteAppliance(appliance, Stop);
            await server.Client.ChangeImage(master.Id, new { Sharing = ImageSharing.Private }, ifVersion: null, Stop);
            Assert.Empty(await server.Client.ListImages(new(Enterprise: EnterpriseId.Default), Stop));
        }

        Directory.Delete(data, recursive: true);
    }

    private static async Task AssertRefused(Func<Task> call, HttpStatusCode status, string code, string names = "")
    {
        var problem = await Assert.ThrowsAsync<ProblemException>(call);
        Assert.Equal((status, code), (problem.Status, problem.Code));
        Assert.Contains(names, problem.Message, StringComparison.Ordinal);
    }
}

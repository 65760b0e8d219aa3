using System.Text.Json;
using Instances.Doctor;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The command that people run when something is odd, against a server on real files.</summary>
public sealed class DoctorCommandTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Doctor_OfAServer_FindsRepairsAndTellsByItsExitCode()
    {
        var data = ServerProcess.MakeDataFolder();
        try
        {
            string address;
            await using (var server = await ServerProcess.Start(data, "--Library:SweepPeriod=1.00:00:00"))
            {
                address = $"{server.Http.BaseAddress}";
                var (code, output) = await Doctor("--url", address);
                Assert.True(code == 0, output);
                Assert.StartsWith("Nothing is wrong.", output, StringComparison.Ordinal);

                var (layer, machine) = (LayerId.New(), VirtualMachines.VirtualMachineId.New());
                var (file, folder) = (Path.Combine(data, "layers", $"{layer}.qcow2"), Path.Combine(data, "machines", $"{machine}"));
                await File.WriteAllTextAsync(file, "nobody's", Stop);
                Directory.CreateDirectory(folder);
                (code, output) = await Doctor("--url", address, "--json");
                Assert.True(code == 1, output);
                var report = JsonSerializer.Deserialize<DoctorReport>(output, InstancesJson.Options)!;
                Assert.Equal(["layer-orphan", "run-folder-orphan"], report.Findings.Select(finding => finding.Code));
                Assert.True(File.Exists(file) && Directory.Exists(folder));

                (code, output) = await Doctor("--url", address, "--fix");
                Assert.True(code == 0, output);
                Assert.Equal(2, output.Split('\n').Count(line => line.EndsWith("Repaired.", StringComparison.Ordinal)));
                Assert.False(File.Exists(file) || Directory.Exists(folder));
                (code, output) = await Doctor("--url", address, "--datacenter", "elsewhere");
                Assert.True(code == 2, output);
                Assert.Contains("This gateway knows no datacenter 'elsewhere'", output, StringComparison.Ordinal);
            }

            Assert.Equal(2, (await Doctor("--url", address)).Code);
        }
        finally
        {
            Directory.Delete(data, recursive: true);
        }
    }

    [Fact]
    public async Task Doctor_WithARealGuestThatIsCapturedAndGoesOn_FindsNothing()
    {
        var data = ServerProcess.MakeDataFolder();
        try
        {
            await using var server = await ServerProcess.Start(data);
            var client = server.Client;
            var image = await client.ImportGuest();
            var appliance = await client.CreateAppliance(new("shop"), Stop);
            await client.AddVirtualMachine(appliance.Id, Guest.Spec("web", image.Id, 1L << 20), Stop);
            await client.Succeeds(await client.Deploy(appliance.Id, Stop));
            Assert.Empty((await client.Examine(fix: true, Stop)).Findings);

            await client.Succeeds(await client.CreateInstance(appliance.Id, new(UpdateImages: true, Undeploy: false), Stop));
            var captured = await client.Examine(fix: true, Stop);
            Assert.Empty(captured.Findings);
            Assert.Equal((1, 1, 2), (captured.Counts.VirtualMachines, captured.Counts.HostMachines, captured.Counts.Images));

            await client.Succeeds(await client.Undeploy(appliance.Id, Stop));
            Assert.Empty((await client.Examine(fix: false, Stop)).Findings);
        }
        finally
        {
            Directory.Delete(data, recursive: true);
        }
    }

    private static Task<(int Code, string Output)> Doctor(params string[] arguments) => SiloProgram.Run(["doctor", .. arguments]);
}

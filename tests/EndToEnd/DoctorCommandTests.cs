using System.Text.Json;
using Instances.Doctor;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The command silo doctor, against a server on real files.</summary>
public sealed class DoctorCommandTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Doctor_OfAServer_FindsRepairsAndTellsByItsExitCode()
    {
        await using var data = new DataFolder();
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
            await Repairs("layer-orphan", () => File.Exists(file));
            Directory.CreateDirectory(folder);
            await Repairs("run-folder-orphan", () => Directory.Exists(folder));
            (code, output) = await Doctor("--url", address, "--datacenter", "elsewhere");
            Assert.True(code == 2, output);
            Assert.Contains("This gateway knows no datacenter 'elsewhere'", output, StringComparison.Ordinal);
        }

        Assert.Equal(2, (await Doctor("--url", address)).Code);

        async Task Repairs(string finding, Func<bool> isThere)
        {
            var (code, output) = await Doctor("--url", address, "--json");
            Assert.True(code == 1, output);
            Assert.Equal([finding], JsonSerializer.Deserialize<DoctorReport>(output, InstancesJson.Options)!.Findings.Select(found => found.Code));
            Assert.True(isThere());

            (code, output) = await Doctor("--url", address, "--fix");
            Assert.True(code == 0, output);
            Assert.Single(output.Split('\n'), line => line.EndsWith("Repaired.", StringComparison.Ordinal));
            Assert.False(isThere());
        }
    }

    private static Task<(int Code, string Output)> Doctor(params string[] arguments) => SiloProgram.Run(["doctor", .. arguments]);
}

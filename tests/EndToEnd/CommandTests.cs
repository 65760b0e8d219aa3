using System.Text.Json;
using Instances.Client;
using Instances.Doctor;
using Instances.Hosting;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The commands that look for damage, against one server on real files. Each test leaves the server without a finding.</summary>
public sealed class CommandTests(CommandTests.Server server) : IClassFixture<CommandTests.Server>
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private InstancesClient Client => server.Process.Client;

    private Uri Address => server.Process.Http.BaseAddress!;

    [Fact]
    public async Task Doctor_OfAServer_FindsRepairsAndTellsByItsExitCode()
    {
        var (layer, machine) = (LayerId.New(), VirtualMachines.VirtualMachineId.New());
        var (file, folder) = (Path.Combine(server.Data, "layers", $"{layer}.qcow2"), Path.Combine(server.Data, "machines", $"{machine}"));
        await Eventually.Holds(async () => (await Doctor()).Code == 0, "nothing is wrong");
        Assert.StartsWith("Nothing is wrong.", (await Doctor()).Output, StringComparison.Ordinal);

        await Repairs("layer-orphan", () => File.WriteAllText(file, "nobody's"), () => File.Exists(file));
        await Repairs("run-folder-orphan", () => Directory.CreateDirectory(folder), () => Directory.Exists(folder));

        // The program itself, as people run it.
        var program = await SiloProgram.Run("doctor", "--url", $"{Address}", "--json", "--fix");
        Assert.True(program.Code == 0, program.Output);
        Assert.Empty(JsonSerializer.Deserialize<DoctorReport>(program.Output, InstancesJson.Options)!.Findings);
        program = await SiloProgram.Run("doctor", "--url", $"{Address}", "--datacenter", "elsewhere");
        Assert.True(program.Code == 2, program.Output);
        Assert.Contains("This gateway knows no datacenter 'elsewhere'", program.Output, StringComparison.Ordinal);
        Assert.Equal(2, (await SiloProgram.RunHere((output, errors) => DoctorCommand.Run(new($"http://127.0.0.1:{Ports.Free()}"), null, false, false, output, errors, Stop))).Code);

        // A sweep that something else asked for may come first: then the test makes the file again.
        Task Repairs(string finding, Action make, Func<bool> isThere) => Eventually.Holds(async () =>
        {
            make();
            var (found, report) = await Doctor(json: true);
            var (after, output) = await Doctor(fix: true);
            return found == 1 && JsonSerializer.Deserialize<DoctorReport>(report, InstancesJson.Options)!.Findings is [var only] && only.Code == finding
                && after == 0 && output.Split('\n').Count(line => line.EndsWith("Repaired.", StringComparison.Ordinal)) == 1 && !isThere();
        }, $"the doctor finds and repairs {finding}");
    }

    [Fact]
    public async Task Verify_OfALibraryInWhichAByteHasFlipped_TellsWhichAndSeesWhenItIsPutRight()
    {
        var image = await Client.ImportGuest();
        var layer = image.Disks[0].Layers[0].Id;
        var path = Path.Combine(server.Data, "layers", $"{layer}.qcow2");

        var (code, output) = await Verify();
        Assert.True(code == 0, output);
        Assert.Contains("all are sound", output, StringComparison.Ordinal);

        var good = await File.ReadAllBytesAsync(path, Stop);
        var bad = (byte[])good.Clone();
        bad[bad.Length / 2] ^= 1;
        await Replace(path, bad);
        (code, output) = await SiloProgram.Run("library", "verify", "--url", $"{Address}");
        Assert.True(code == 1, output);
        Assert.Contains($"corrupt  {layer}", output, StringComparison.Ordinal);
        Assert.Contains($"{image.Id}", output, StringComparison.Ordinal);
        await Becomes(ImageStatus.Corrupt);

        await Replace(path, good);
        (code, output) = await Verify();
        Assert.True(code == 0, output);
        await Becomes(ImageStatus.Ready);

        Task Becomes(ImageStatus status) => Eventually.Holds(async () => (await Client.FindImage(image.Id, Stop))!.Status == status, $"the image is {status}");
    }

    private Task<(int Code, string Output)> Doctor(bool fix = false, bool json = false) => SiloProgram.RunHere((output, errors) => DoctorCommand.Run(Address, null, fix, json, output, errors, Stop));

    private Task<(int Code, string Output)> Verify() => SiloProgram.RunHere((output, errors) => LibraryCommand.Verify(Address, null, json: false, output, errors, Stop));

    /// <summary>Sealed layers are read-only.</summary>
    private static async Task Replace(string path, byte[] bytes)
    {
        File.Delete(path);
        await File.WriteAllBytesAsync(path, bytes, Stop);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
    }

    /// <summary>It sweeps seldom, so that the doctor finds what a test leaves.</summary>
    public sealed class Server : IAsyncLifetime
    {
        private readonly Testing.DataFolder _data = new();

        internal ServerProcess Process { get; private set; } = null!;

        internal string Data => _data;

        public async ValueTask InitializeAsync() => Process = await ServerProcess.Start(_data, "--Library:SweepPeriod=1.00:00:00");

        public async ValueTask DisposeAsync()
        {
            await Process.DisposeAsync();
            await _data.DisposeAsync();
        }
    }
}

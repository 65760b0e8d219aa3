using System.Diagnostics;
using System.Text.Json;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The first steps of a newcomer: run.sh.</summary>
public sealed class RunScriptTests
{
    [Fact]
    public async Task RunOnce_OnAnEmptyFolder_DoesTheMainJobAndLeavesNothingRunning()
    {
        await using var data = new DataFolder();
        var facts = await Run("--once", "--json", "--data", data, "--port", $"{Ports.Free()}");

        Assert.True(facts.GetProperty("ok").GetBoolean());
        var boots = facts.GetProperty("boots");
        Assert.Equal(
            new[] { 1, 2, 1, 3 },
            new[] { "first", "afterReset", "afterPlainRedeploy", "afterCaptureAndRedeploy" }.Select(name => boots.GetProperty(name).GetInt32()));
        var master = Assert.Single(facts.GetProperty("masters").EnumerateArray());
        Assert.Equal("tiny-linux", master.GetProperty("name").GetString());
        Assert.NotEmpty(facts.GetProperty("slaves").EnumerateArray());
        foreach (var slave in facts.GetProperty("slaves").EnumerateArray())
        {
            Assert.Equal(master.GetProperty("id").GetString(), slave.GetProperty("masterId").GetString());
            Assert.Equal($"tiny-linux-{slave.GetProperty("id").GetString()}", slave.GetProperty("name").GetString());
            Assert.Equal("ready", slave.GetProperty("status").GetString());
        }

        Assert.Equal(3, facts.GetProperty("captures").GetArrayLength());
        Assert.Equal(3, facts.GetProperty("deleted").GetArrayLength());
        Assert.Empty(data.Guests.Ids());
    }

    /// <summary>The folder of a cluster is a relative one by default.</summary>
    [Fact]
    public async Task ClusterScript_InARelativeFolder_StartsAndStopsItsDatabase()
    {
        var folder = Directory.CreateTempSubdirectory("instances-e2e-");
        try
        {
            // PostgreSQL's own user has to pass through it.
            File.SetUnixFileMode(folder.FullName, (UnixFileMode)0b111_101_101);
            var script = $"set -euo pipefail; source '{Repository.Root}/silo/setup.sh'; source '{Repository.Root}/silo/cluster.sh'; "
                + $"start_postgresql ./cluster/postgresql {Ports.Free()}; test -e cluster/postgresql/data/postmaster.pid; stop_postgresql; test ! -e cluster/postgresql/data/postmaster.pid";
            using var process = Process.Start(new ProcessStartInfo("bash", ["-c", script]) { WorkingDirectory = folder.FullName, RedirectStandardError = true })!;
            var errors = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);

            Assert.True(process.ExitCode == 0, errors);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task<JsonElement> Run(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(Path.Combine(Repository.Root, "run.sh"), arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"run.sh ended with {process.ExitCode}:\n{await errors}\n{await output}");
        return JsonDocument.Parse((await output).TrimEnd().Split('\n')[^1]).RootElement;
    }
}

using System.Diagnostics;
using Instances.Testing;
using Xunit;

namespace Instances.Hosting;

public sealed class DataFolderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-data-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Take_OfAFolderThatAnotherProcessHas_NamesFolderAndProcess()
    {
        using var first = DataFolder.Take(_folder);

        var refusal = Assert.Throws<StartException>(() => DataFolder.Take(_folder));

        Assert.Contains(_folder, refusal.Message, StringComparison.Ordinal);
        Assert.Contains($"(pid {Environment.ProcessId})", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Take_AfterItsProcessEnded_IsNotKeptByAChildThatRuns()
    {
        var first = DataFolder.Take(_folder);
        using var child = Process.Start("sleep", "1000");
        try
        {
            first.Dispose();

            using var second = DataFolder.Take(_folder);

            Assert.False(child.HasExited);
        }
        finally
        {
            child.Kill();
        }
    }

    [Fact]
    public void KeepHostName_OfANewFolder_IsTheMachinesAndStays()
    {
        string first;
        using (var folder = DataFolder.Take(_folder)) first = folder.KeepHostName(configured: null);
        Directory.CreateDirectory(Path.Combine(_folder, "machines"));
        using var again = DataFolder.Take(_folder);

        Assert.Equal(DataFolder.HostNameOf(Environment.MachineName), first);
        Assert.Equal(first, again.KeepHostName(configured: null));
    }

    /// <summary>Releases that kept no name called every host so.</summary>
    [Fact]
    public void KeepHostName_OfAFolderOfAnEarlierRelease_IsLocal()
    {
        File.WriteAllText(Path.Combine(_folder, "instances.db"), "");
        using var folder = DataFolder.Take(_folder);

        Assert.Equal("local", folder.KeepHostName(configured: null));
    }

    [Fact]
    public void KeepHostName_OfAnotherHostsFolder_IsRefused()
    {
        using var folder = DataFolder.Take(_folder);
        Assert.Equal("host-1", folder.KeepHostName("host-1"));

        var refusal = Assert.Throws<StartException>(() => folder.KeepHostName("host-2"));

        Assert.Contains("'host-1'", refusal.Message, StringComparison.Ordinal);
        Assert.Equal("host-1", folder.KeepHostName(configured: null));
    }

    /// <summary>An empty file is what a power cut leaves of one that was not synced. A wrong name would cut the host off from its machines.</summary>
    [Fact]
    public void KeepHostName_OfAFolderWhoseFileIsEmpty_IsAskedFor()
    {
        File.WriteAllText(Path.Combine(_folder, "instances.db"), "");
        File.WriteAllText(Path.Combine(_folder, "host.name"), "");
        using var folder = DataFolder.Take(_folder);

        Assert.Contains("Host:Name", Assert.Throws<StartException>(() => folder.KeepHostName(configured: null)).Message, StringComparison.Ordinal);
        Assert.Equal("host-1", folder.KeepHostName("host-1"));
        Assert.Equal("host-1", folder.KeepHostName(configured: null));
    }

    [Fact]
    public void Folder_OfAnEarlierReleaseOnAFullDisk_IsTakenAndKeepsItsNameLater()
    {
        using var disk = SmallDisk.TryMake(mebibytes: 1);
        Assert.SkipWhen(disk is null, "Only root can mount a small disk.");
        File.WriteAllText(Path.Combine(disk.Path, "instances.db"), "");
        File.WriteAllText(Path.Combine(disk.Path, "lock"), "");
        disk.Fill();

        using (var folder = DataFolder.Take(disk.Path)) Assert.Equal("local", folder.KeepHostName(configured: null));

        disk.Free();
        using (var folder = DataFolder.Take(disk.Path)) Assert.Equal("local", folder.KeepHostName(configured: null));
        Assert.Equal("local\n", File.ReadAllText(Path.Combine(disk.Path, "host.name")));
    }

    [Fact]
    public void KeepHostName_OfANewFolderOnAFullDisk_SaysThatItIsFull()
    {
        using var disk = SmallDisk.TryMake(mebibytes: 1);
        Assert.SkipWhen(disk is null, "Only root can mount a small disk.");
        disk.Fill();
        using var folder = DataFolder.Take(disk.Path);

        Assert.Contains("full", Assert.Throws<StartException>(() => folder.KeepHostName(configured: null)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("node1.example.com", "node1")]
    [InlineData("my_host", "my-host")]
    [InlineData("-_-", "local")]
    public void HostNameOf_AMachine_IsAName(string machine, string name) => Assert.Equal(name, DataFolder.HostNameOf(machine));
}

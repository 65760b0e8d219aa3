using Instances.Faults;
using Instances.Hosts;
using Instances.Testing;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Runtime;
using Xunit;

namespace Instances.Storage;

public sealed class DiskReserveTests : IDisposable
{
    private const int Mebibyte = 1 << 20;

    private readonly SmallDisk? _disk = SmallDisk.TryMake(mebibytes: 24);

    public void Dispose() => _disk?.Dispose();

    [Fact]
    public async Task Write_OnAFullDisk_TakesTheReserveAndThenSaysWhichDiskIsFull()
    {
        Assert.SkipWhen(_disk is null, "Only root can mount a small disk.");
        using var database = Open();
        await Eventually.Holds(() => Task.FromResult(ReserveBytes == 3 * Mebibyte), "the reserve is there");
        _disk.Fill();

        var written = 0;
        var failure = await Assert.ThrowsAsync<DatabaseFullException>(async () =>
        {
            for (; written < 100; written++) await Write(database);
        });

        Assert.True(written > 5, $"only {written} writes");
        Assert.Equal(0, ReserveBytes);
        Assert.Equal(DatabaseFaults.DiskFull, failure.SqlState);
        Assert.Contains(_disk.Path, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Database_OpenedOnAFullDisk_CanBeWrittenAndTheReserveGrowsAgain()
    {
        Assert.SkipWhen(_disk is null, "Only root can mount a small disk.");
        using (Open()) await Eventually.Holds(() => Task.FromResult(ReserveBytes == 3 * Mebibyte), "the reserve is there");
        _disk.Fill();

        using var database = Open();
        await Write(database);
        Assert.InRange(ReserveBytes, 1, 2 * Mebibyte);

        _disk.Free();
        using (Open()) await Eventually.Holds(() => Task.FromResult(ReserveBytes == 3 * Mebibyte), "the reserve has grown again");
    }

    /// <summary>The identity and the number of a host are read and raised when a silo starts: what runs there is adopted on a full disk, too.</summary>
    [Fact]
    public async Task HostBindings_OnADiskWithoutReserve_SayThatItIsFull()
    {
        Assert.SkipWhen(_disk is null, "Only root can mount a small disk.");
        using var database = new SqliteDatabase(DatabaseFile);
        Migrations.Apply(database, NullLogger.Instance);
        var bindings = new DatabaseHostBindings(database);
        var host = new HostId("host-1");
        var before = await bindings.Find(host);
        _disk.Fill();

        var failure = await Assert.ThrowsAsync<FaultException>(async () =>
        {
            while (true) await bindings.Raise(host, above: 0);
        });

        Assert.Equal("no-space", failure.Fault.Code);
        Assert.Equal(before.Database, (await bindings.Find(host)).Database);
    }

    /// <summary>Some file systems free space in the background.</summary>
    [Fact]
    public void MakeRoom_OnADiskThatFreesSpaceLater_KeepsTheRestForLaterWrites()
    {
        var folder = Directory.CreateTempSubdirectory("instances-reserve-");
        try
        {
            var database = Path.Combine(folder.FullName, "instances.db");
            File.WriteAllBytes($"{database}.reserve", new byte[3 * Mebibyte]);
            using var reserve = new DiskReserve(database, bytes: 3 * Mebibyte) { Measure = _ => 0 };

            reserve.MakeRoom();

            Assert.Equal(2 * Mebibyte, new FileInfo($"{database}.reserve").Length);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    /// <summary>The caller reports a full disk, and not the file that could not be cut.</summary>
    [Fact]
    public void Release_OfAFileThatCannotBeCut_IsFalse()
    {
        var folder = Directory.CreateTempSubdirectory("instances-reserve-");
        try
        {
            var database = Path.Combine(folder.FullName, "instances.db");
            using var reserve = new DiskReserve(database, bytes: Mebibyte);
            File.WriteAllBytes($"{database}.reserve", new byte[Mebibyte]);
            using var obstacle = new FileStream($"{database}.reserve", FileMode.Open, FileAccess.ReadWrite, FileShare.None);

            Assert.False(reserve.Release());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private string DatabaseFile => Path.Combine(_disk!.Path, "instances.db");

    private long ReserveBytes => new FileInfo($"{DatabaseFile}.reserve") is { Exists: true } file ? file.Length : 0;

    private SqliteDatabase Open()
    {
        var database = new SqliteDatabase(DatabaseFile, reserveBytes: 3 * Mebibyte);
        Migrations.Apply(database, NullLogger.Instance);
        return database;
    }

    private static async Task Write(SqliteDatabase database)
    {
        await using var connection = await database.DataSource.OpenConnectionAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = "INSERT INTO OrleansStorage (GrainIdHash, GrainIdN0, GrainIdN1, GrainTypeHash, GrainTypeString, ServiceId, PayloadBinary, ModifiedOn, Version) "
            + "VALUES (1, (SELECT count(*) FROM OrleansStorage), 0, 0, 'test', 'test', CAST('{\"pad\":\"' || hex(randomblob(100000)) || '\"}' AS BLOB), '2026-01-01', 1)";
        await using var reader = await command.ExecuteReaderAsync();
    }
}

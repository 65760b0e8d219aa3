using System.Text.Json;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Storage;
using Xunit;

namespace Instances.Storage;

public sealed class EnterpriseCatalogueOnSqliteTests() : EnterpriseCatalogueTests(TestDatabase.Sqlite())
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-migrations-").FullName;

    private protected override IDatabase CreateEmpty() => new SqliteDatabase(Path.Combine(_folder, "instances.db"));

    private protected override IReadOnlyList<string> Explain(string sql)
    {
        using var connection = Database.Database.DataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "EXPLAIN QUERY PLAN " + sql;
        using var reader = command.ExecuteReader();
        var plan = new List<string>();
        while (reader.Read()) plan.Add(reader.GetString(3));
        return plan;
    }

    public override void Dispose()
    {
        base.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}

public sealed class EnterpriseCatalogueOnPostgreSqlTests() : EnterpriseCatalogueTests(TestDatabase.PostgreSql())
{
    private readonly string _connectionString = PostgreSqlServer.Shared.CreateDatabase();

    private protected override IDatabase CreateEmpty() => new PostgreSqlDatabase(_connectionString, maxConnections: 3);

    // The planner uses statistics: insert as many rows of each kind as a busy datacenter has.
    private protected override IReadOnlyList<string> Explain(string sql)
    {
        Database.Column("""
            INSERT INTO catalogue (state, kind, id, name, status, owner, createdAt, view, enterprise)
            SELECT n, (ARRAY['appliance', 'virtual-machine', 'image', 'operation'])[1 + n % 4], n::text, 'n' || n, (ARRAY['ready', 'retired', 'deployed'])[1 + n % 3], 'o' || n / 20, n, '{}',
                CASE WHEN n % 4 < 3 THEN 'e' || n / 4 % 1000 END
            FROM generate_series(1, 40000) AS n
            """);
        Database.Column("ANALYZE catalogue");
        return Database.Column("EXPLAIN " + sql);
    }

    public override void Dispose()
    {
        base.Dispose();
        PostgreSqlServer.Shared.DropDatabase(_connectionString);
    }
}

/// <summary>The usage of enterprises, from both databases.</summary>
public abstract class EnterpriseCatalogueTests : IDisposable
{
    private const long MiB = 1L << 20;

    private static readonly DateTimeOffset s_start = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    private readonly EnterpriseId _acme = EnterpriseId.New();
    private readonly EnterpriseId _other = EnterpriseId.New();
    private int _made;

    private protected EnterpriseCatalogueTests(TestDatabase database) => Database = database;

    private protected TestDatabase Database { get; }

    private DatabaseCatalogue Catalogue => Database.Catalogue;

    public virtual void Dispose()
    {
        Database.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task Enterprises_AreListedInTheirOrderPageByPage()
    {
        var storage = await Database.OpenStorage();
        foreach (var (name, number) in ((string[])["default", "acme", "other"]).Select((name, number) => (name, number)))
        {
            var view = new EnterpriseView(EnterpriseId.New(), name, new(Images: number), 1, s_start.AddSeconds(number));
            await Write(storage, new(CatalogueEntry.EnterpriseKind, view.Id.Value, name, "active", null, null, null, view.CreatedAt, [], Json(view)));
        }

        var first = await Catalogue.Enterprises(new(2));
        var rest = await Catalogue.Enterprises(new(2, first.NextCursor));

        Assert.Equal(["default", "acme", "other"], first.Items.Concat(rest.Items).Select(view => view.Name));
        Assert.Equal(new EnterpriseQuotas(Images: 2), Assert.Single(rest.Items).Quotas);
        Assert.Null(rest.NextCursor);
    }

    [Fact]
    public async Task Usage_OfImages_IsWhatTheyHoldOrAreAboutTo()
    {
        var storage = await Database.OpenStorage();
        await Write(storage, Image(_acme, ImageStatus.Ready, bytes: 10) with { VirtualBytes = 1000 });
        await Write(storage, Image(_acme, ImageStatus.Corrupt, bytes: 20) with { VirtualBytes = 2000 });
        await Write(storage, Image(_acme, ImageStatus.Retired, bytes: 40) with { VirtualBytes = 4000 });
        await Write(storage, Image(_acme, ImageStatus.Failed, bytes: 0) with { QuotaBytes = 5000, VirtualBytes = 500_000 });
        var importing = Image(_acme, ImageStatus.Importing, bytes: 0) with { QuotaBytes = 80 };
        await Write(storage, importing);
        await Write(storage, Image(_other, ImageStatus.Ready, bytes: 1000) with { VirtualBytes = 100_000 });

        Assert.Equal(new EnterpriseUsage(LibraryBytes: 150, Images: 4, Uploads: 1, VirtualBytes: 7000), await UsageOf(_acme));
        await Write(storage, importing with { VirtualBytes = 8000 });
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 150, Images: 4, Uploads: 1, VirtualBytes: 15_000), await UsageOf(_acme));
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 70, Images: 3, VirtualBytes: 7000), await UsageOf(_acme, importing.Id, Guid.NewGuid()));
        Assert.Equal(EnterpriseUsage.None, await UsageOf(EnterpriseId.New()));
    }

    [Fact]
    public async Task Usage_OfACapture_CountsEachOfItsImagesOnce()
    {
        var storage = await Database.OpenStorage();
        var (made, second) = (Image(_acme, ImageStatus.Ready, bytes: 10) with { VirtualBytes = 1000 }, Image(_acme, ImageStatus.Ready, bytes: 0) with { VirtualBytes = 2000 });
        var capturing = Appliance(_acme, ApplianceStatus.Bundling) with { Planned = [new(made.Id), new(second.Id), ImageId.New()], VirtualBytes = 7000 };
        await Write(storage, capturing);
        var another = Appliance(_acme, ApplianceStatus.Bundling) with { Planned = [ImageId.New()], VirtualBytes = 10_000 };
        await Write(storage, another);
        await Write(storage, Appliance(_other, ApplianceStatus.Bundling) with { Planned = [ImageId.New()], VirtualBytes = 100_000 });

        Assert.Equal((4, 17_000), await Counted());
        await Write(storage, made);
        Assert.Equal((4, 17_000), await Counted());
        Assert.Equal((2, 11_000), await Counted(capturing.Id));
        await Write(storage, second);
        Assert.Equal((4, 17_000), await Counted());
        Assert.Equal((3, 7000), await Counted(another.Id));
        await Write(storage, another with { Planned = null, VirtualBytes = null });
        await Write(storage, capturing with { Planned = null, VirtualBytes = null });
        Assert.Equal((2, 3000), await Counted());

        async Task<(long, long)> Counted(params Guid[] except)
        {
            var usage = await UsageOf(_acme, except);
            return (usage.Images, usage.VirtualBytes);
        }
    }

    [Theory]
    [InlineData(ApplianceStatus.Undeployed, 0)]
    [InlineData(ApplianceStatus.Deploying, 3)]
    [InlineData(ApplianceStatus.Deployed, 2)]
    [InlineData(ApplianceStatus.Bundling, 2)]
    [InlineData(ApplianceStatus.Undeploying, 2)]
    public async Task Usage_OfMachines_IsThoseThatAreDeployedOrAboutToBe(ApplianceStatus status, int counted)
    {
        var storage = await Database.OpenStorage();
        var appliance = Appliance(_acme, status);
        await Write(storage, appliance);
        foreach (var machine in (VirtualMachineStatus[])[VirtualMachineStatus.Running, VirtualMachineStatus.Stopped, VirtualMachineStatus.Undeployed])
            await Write(storage, Machine(_acme, appliance.Id, ImageId.New(), machine));
        var foreign = Appliance(_other, ApplianceStatus.Deployed);
        await Write(storage, foreign);
        await Write(storage, Machine(_other, foreign.Id, ImageId.New(), VirtualMachineStatus.Running));

        Assert.Equal(new EnterpriseUsage(VirtualMachines: counted, Cpus: 3 * counted, MemoryBytes: 100 * MiB * counted), await UsageOf(_acme));
        Assert.Equal(Math.Min(2, counted), (await UsageOf(_acme, appliance.Id)).VirtualMachines);
    }

    [Fact]
    public void LibraryUsage_IsReadFromIndexes() =>
        AssertReads(Catalogue.LibraryUsageSql([]), "catalogue_image_enterprise", "catalogue_appliance_enterprise", "catalogue_image_id");

    [Fact]
    public void MachineUsage_IsReadFromIndexes() => AssertReads(Catalogue.MachineUsageSql([]), "catalogue_appliance_enterprise", "catalogue_owner");

    [Fact]
    public async Task Lists_OfAnEnterprise_AreItsAppliancesAndTheImagesThatItCanUse()
    {
        var storage = await Database.OpenStorage();
        var (own, shared, foreign, nobodys) = (
            Image(_acme, ImageStatus.Ready), Image(_other, ImageStatus.Ready, sharing: ImageSharing.AllEnterprises), Image(_other, ImageStatus.Ready), Image(null, ImageStatus.Ready));
        foreach (var image in new[] { own, shared, foreign, nobodys }) await Write(storage, image);
        var (mine, theirs) = (Appliance(_acme, ApplianceStatus.Undeployed), Appliance(_other, ApplianceStatus.Undeployed));
        await Write(storage, mine);
        await Write(storage, theirs);

        Assert.Equal([own.Id, shared.Id], await Listed(new(Enterprise: _acme)));
        Assert.Equal([shared.Id, foreign.Id], await Listed(new(Enterprise: _other)));
        Assert.Equal([shared.Id, nobodys.Id], await Listed(new(Enterprise: EnterpriseId.Default)));
        Assert.Equal([nobodys.Id, shared.Id], await Listed(new(Enterprise: EnterpriseId.Default, Descending: true)));
        Assert.Equal(4, (await Listed(new())).Count);
        Assert.Equal([mine.Id], (await Catalogue.Appliances(_acme, new())).Items.Select(view => view.Id.Value));
        Assert.Equal([mine.Id, theirs.Id], (await Catalogue.Appliances(null, new())).Items.Select(view => view.Id.Value));
        var page = await Catalogue.Appliances(_acme, new(1));
        Assert.Equal((mine.Id, null), (Assert.Single(page.Items).Id.Value, page.NextCursor));
    }

    [Fact]
    public async Task Belongings_OfAnEnterprise_AreThoseOfAnyStatus()
    {
        var storage = await Database.OpenStorage();
        Assert.Empty((await Catalogue.BelongingsOf(_acme, 10)).Images);
        var (retired, failed, appliance) = (Image(_acme, ImageStatus.Retired), Image(_acme, ImageStatus.Failed), Appliance(_acme, ApplianceStatus.Undeployed));
        foreach (var entry in new[] { retired, failed, appliance, Image(_other, ImageStatus.Ready), Appliance(_other, ApplianceStatus.Deployed) }) await Write(storage, entry);

        var left = await Catalogue.BelongingsOf(_acme, 10);

        Assert.Equal([retired.Id, failed.Id], left.Images.Select(id => id.Value));
        Assert.Equal([appliance.Id], left.Appliances.Select(id => id.Value));
        Assert.Equal([retired.Id], (await Catalogue.BelongingsOf(_acme, 1)).Images.Select(id => id.Value));
    }

    [Fact]
    public async Task UsersOfOthers_AreMachinesOfOtherEnterprises()
    {
        var storage = await Database.OpenStorage();
        var image = ImageId.New();
        var theirs = Machine(_other, Guid.NewGuid(), image, VirtualMachineStatus.Undeployed);
        var nobodys = Machine(null, Guid.NewGuid(), image, VirtualMachineStatus.Running);
        foreach (var entry in new[] { theirs, nobodys, Machine(_acme, Guid.NewGuid(), image, VirtualMachineStatus.Running), Machine(_other, Guid.NewGuid(), ImageId.New(), VirtualMachineStatus.Running) })
            await Write(storage, entry);

        Assert.Equal(new[] { theirs.Id, nobodys.Id }.ToHashSet(), (await Catalogue.UsersOfOthers(image, _acme, 10)).Select(id => id.Value).ToHashSet());
        Assert.Single(await Catalogue.UsersOfOthers(image, _acme, 1));
        Assert.Empty(await Catalogue.UsersOfOthers(ImageId.New(), _acme, 10));
    }

    [Fact]
    public async Task RuledInstances_OfAnotherEnterprisesMaster_AreNotReachedByItsRule()
    {
        var storage = await Database.OpenStorage();
        var master = Image(_acme, ImageStatus.Ready, sharing: ImageSharing.AllEnterprises, change: view => view with { Retention = new(KeepLast: 1) });
        var (own, foreign, shared) = (Slave(_acme, master.Id), Slave(_other, master.Id), Slave(_acme, master.Id, ImageSharing.AllEnterprises));
        foreach (var image in new[] { master, own, foreign, shared }) await Write(storage, image);

        var ruled = (await Catalogue.RuledInstances(master: null)).ToDictionary(instance => instance.Id.Value);

        Assert.Equal(new[] { own.Id, shared.Id }.ToHashSet(), ruled.Keys.ToHashSet());
        Assert.Equal((false, true), (ruled[own.Id].IsExempt, ruled[shared.Id].IsExempt));
    }

    [Fact]
    public async Task Rows_FromBefore_AreOfTheDefaultEnterprise()
    {
        using var database = CreateEmpty();
        Migrations.Apply(database, NullLogger.Instance, Migrations.Scripts(database).Where(script => string.CompareOrdinal(script.Name, "0008") < 0));
        var storage = await Database.OpenStorage(database);
        var (image, appliance) = (Image(null, ImageStatus.Ready, bytes: 7), Appliance(null, ApplianceStatus.Deployed));
        var machine = Machine(null, appliance.Id, new(image.Id), VirtualMachineStatus.Running);
        foreach (var entry in new[] { image, appliance, machine }) await Write(storage, entry);

        Migrations.Apply(database, NullLogger.Instance);

        var catalogue = new DatabaseCatalogue(database, NullLogger<DatabaseCatalogue>.Instance);
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 7, Images: 1, VirtualMachines: 1, Cpus: 3, MemoryBytes: 100 * MiB), await catalogue.LibraryUsageOf(EnterpriseId.Default, []) + await catalogue.MachineUsageOf(EnterpriseId.Default, []));
        Assert.Equal([machine.Id], (await catalogue.UsersOfOthers(new(image.Id), _acme, 10)).Select(id => id.Value));
        Assert.Equal([appliance.Id], (await catalogue.Appliances(EnterpriseId.Default, new())).Items.Select(view => view.Id.Value));
    }

    [Fact]
    public async Task Rows_FromBeforeVirtualSizesCounted_CountThem()
    {
        using var database = CreateEmpty();
        Migrations.Apply(database, NullLogger.Instance, Migrations.Scripts(database).Where(script => string.CompareOrdinal(script.Name, "0009") < 0));
        var storage = await Database.OpenStorage(database);
        foreach (var entry in new[] { Image(_acme, ImageStatus.Ready, change: Disks(1000, 200)), Image(_acme, ImageStatus.Retired, change: Disks(50)), Image(_acme, ImageStatus.Importing) })
            await Write(storage, entry);
        var capturing = Image(_acme, ImageStatus.Ready, change: Disks(7));
        await Write(storage, Appliance(_acme, ApplianceStatus.Bundling) with { Planned = [new(capturing.Id), ImageId.New()] });
        await Write(storage, capturing);

        Migrations.Apply(database, NullLogger.Instance);

        Assert.Equal((5, 1257), (await Usage()));
        await Write(storage, Image(_acme, ImageStatus.Ready) with { VirtualBytes = 10_000 });
        Assert.Equal((6, 11_257), (await Usage()));

        async Task<(long, long)> Usage()
        {
            var usage = await new DatabaseCatalogue(database, NullLogger<DatabaseCatalogue>.Instance).LibraryUsageOf(_acme, []);
            return (usage.Images, usage.VirtualBytes);
        }

        static Func<ImageView, ImageView> Disks(params long[] sizes) => view => view with { Disks = [.. sizes.Select(size => new DiskManifest([], size))] };
    }

    private async Task<EnterpriseUsage> UsageOf(EnterpriseId enterprise, params Guid[] except) =>
        await Catalogue.LibraryUsageOf(enterprise, except) + await Catalogue.MachineUsageOf(enterprise, except);

    private void AssertReads(string sql, params string[] indexes)
    {
        var plan = string.Join('\n', Explain(sql.Replace("@enterprise", "'e1'", StringComparison.Ordinal)));
        Assert.All(indexes, index => Assert.Contains(index, plan, StringComparison.Ordinal));
        Assert.DoesNotContain("SCAN catalogue", plan, StringComparison.Ordinal);
        Assert.DoesNotContain("Seq Scan", plan, StringComparison.Ordinal);
        Assert.DoesNotContain("(kind=?)", plan, StringComparison.Ordinal); // All images, once for each image of a capture.
    }

    private protected abstract IDatabase CreateEmpty();

    private protected abstract IReadOnlyList<string> Explain(string sql);

    private async Task<IReadOnlyList<Guid>> Listed(ImageFilter filter) => [.. (await Catalogue.Images(filter, new())).Items.Select(view => view.Id.Value)];

    private static Task<GrainState<TestState>> Write(AdoNetGrainStorage storage, CatalogueEntry entry) => storage.Write(entry.Kind, entry.Id.Id(), new TestState { Catalogue = entry });

    /// <param name="enterprise">Null for records from before enterprises existed.</param>
    private CatalogueEntry Image(EnterpriseId? enterprise, ImageStatus status, long bytes = 1, ImageSharing sharing = ImageSharing.Private, Func<ImageView, ImageView>? change = null)
    {
        var view = new ImageView(ImageId.New(), "debian", ImageKind.Master, status, null, null, bytes, [], s_start.AddSeconds(_made++), null, null, null, null) { Sharing = sharing };
        view = change?.Invoke(view) ?? view;
        return new(
            CatalogueEntry.ImageKind, view.Id.Value, view.Name, Text(status), view.Master?.Value, view.Parent?.Value, view.Capture?.VirtualMachine.Value, view.CreatedAt, [], Json(view),
            Enterprise: enterprise?.Value);
    }

    private CatalogueEntry Slave(EnterpriseId enterprise, Guid master, ImageSharing sharing = ImageSharing.Private) => Image(enterprise, ImageStatus.Ready, sharing: sharing, change: view => view with
    {
        Kind = ImageKind.Slave,
        Master = new(master),
        Capture = new(OperationId.New(), ApplianceId.New(), VirtualMachineId.New(), "web", s_start, ConsistencyLevel.Crash, 1, null),
    });

    private CatalogueEntry Appliance(EnterpriseId? enterprise, ApplianceStatus status)
    {
        var view = new ApplianceView(ApplianceId.New(), "shop", null, status, null, [], s_start.AddSeconds(_made++));
        return new(CatalogueEntry.Appliance, view.Id.Value, view.Name, Text(status), null, null, null, view.CreatedAt, [], Json(view), Enterprise: enterprise?.Value);
    }

    private static CatalogueEntry Machine(EnterpriseId? enterprise, Guid appliance, ImageId image, VirtualMachineStatus status)
    {
        var view = new VirtualMachineView(VirtualMachineId.New(), new(appliance), "web", status, image, [], null, [], s_start) { EffectiveCpus = 3, EffectiveMemoryBytes = 100 * MiB };
        return new(CatalogueEntry.VirtualMachine, view.Id.Value, view.Name, Text(status), appliance, image.Value, null, s_start, [], Json(view), Enterprise: enterprise?.Value);
    }

    private static string Text<T>(T status) => JsonSerializer.SerializeToElement(status, InstancesJson.Options).GetString()!;

    private static JsonElement Json<T>(T view) => JsonSerializer.SerializeToElement(view, InstancesJson.Options);
}

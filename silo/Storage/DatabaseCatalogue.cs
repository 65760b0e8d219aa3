using System.Data.Common;
using System.Text.Json;
using Dapper;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances.Storage;

/// <summary>Reads the catalogue table, which triggers update (the migration scripts 0004-catalogue.sql and 0008-enterprises.sql).</summary>
/// <remarks>Kinds are literals in the queries, not parameters: the planner uses a partial index only if it can see that its condition holds.</remarks>
internal sealed partial class DatabaseCatalogue(IDatabase database, ILogger<DatabaseCatalogue> logger) : ICatalogue
{
    internal const string Listed = "status NOT IN ('retired', 'failed')";

    public Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page) =>
        ReadPage<ApplianceView>(page, enterprise is null
            ? new("kind = 'appliance'")
            : new("kind = 'appliance' AND enterprise = @enterprise", Enterprise: enterprise.ToString()));

    public Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page) =>
        ReadPage<VirtualMachineView>(page, new("kind = 'virtual-machine' AND owner = @owner", Owner: appliance.ToString()));

    public async Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page)
    {
        var query = new ImageQuery(database, filter, page);
        var rows = await Read<ImageQuery.Row>(query.Sql, query.Parameters);
        return new(
            [.. rows.Take(query.Limit).Select(row => Listable<ImageView>(row.Id, row.View)).OfType<ImageView>()],
            rows.Count > query.Limit ? query.CursorAfter(rows[query.Limit - 1]) : null);
    }

    public Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page) =>
        ReadPage<VirtualMachineView>(page, new("kind = 'virtual-machine' AND image = @image", Image: image.ToString()));

    public async Task<Page<OperationView>> Operations(OperationFilter filter, PageRequest page)
    {
        var query = new OperationQuery(database, filter, page);
        var rows = await Read<Row>(query.Sql, query.Parameters);
        return new(
            [.. rows.Take(query.Limit).Select(row => Listable<OperationView>(row.Id, row.View)).OfType<OperationView>()],
            rows.Count > query.Limit ? query.CursorAfter(new(rows[query.Limit - 1].CreatedAt, rows[query.Limit - 1].Id)) : null);
    }

    public Task<IReadOnlyList<VirtualMachineId>> UsersOf(ImageId image, int limit) =>
        ReadIds<VirtualMachineId>(
            "SELECT id FROM catalogue WHERE kind = 'virtual-machine' AND image = @image LIMIT @limit",
            new { image = image.ToString(), limit });

    public Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host) =>
        ReadIds<VirtualMachineId>(
            $"SELECT id FROM catalogue WHERE kind = 'virtual-machine' AND {database.HostOfViewSql} = @host ORDER BY createdAt, id",
            new { host = host.Name });

    public Task<IReadOnlyList<VirtualMachineView>> DeployedMachines() => ReadViews<VirtualMachineView>("kind = 'virtual-machine' AND status <> 'undeployed'");

    public Task<IReadOnlyList<ApplianceView>> BusyAppliances() => ReadViews<ApplianceView>("kind = 'appliance' AND status NOT IN ('undeployed', 'deployed')");

    public Task<IReadOnlyList<OperationView>> OpenOperations() => ReadViews<OperationView>("kind = 'operation' AND status NOT IN ('succeeded', 'failed', 'cancelled')");

    public Task<IReadOnlyList<ImageId>> SlavesOf(ImageId master, int limit) =>
        ReadIds<ImageId>(
            $"SELECT id FROM catalogue WHERE kind = 'image' AND owner = @owner AND {Listed} ORDER BY createdAt, id LIMIT @limit",
            new { owner = master.ToString(), limit });

    public Task<IReadOnlyList<ImageId>> CapturedFrom(VirtualMachineId machine) =>
        ReadIds<ImageId>("SELECT id FROM catalogue WHERE kind = 'image' AND machine = @machine AND status = 'ready' ORDER BY createdAt, id", new { machine = machine.ToString() });

    public Task<IReadOnlyList<ImageId>> ImagesIn(ImageStatus status) =>
        ReadIds<ImageId>(
            "SELECT id FROM catalogue WHERE kind = 'image' AND status = @status ORDER BY createdAt, id",
            new { status = TextOf(status) });

    // A layer's id is a UUID, so that its text occurs in the array only as that element.
    public Task<IReadOnlyList<ImageId>> ImagesOn(LayerId layer) =>
        ReadIds<ImageId>(
            "SELECT id FROM catalogue WHERE kind = 'image' AND CAST(layers AS TEXT) LIKE @layer ORDER BY createdAt, id",
            new { layer = $"%{layer}%" });

    public async Task<IReadOnlySet<LayerId>> ReferencedLayers() =>
        (await ReadIds<LayerId>($"SELECT DISTINCT layer.value FROM {database.RowsWithLayersSql} WHERE catalogue.layers IS NOT NULL")).ToHashSet();

    public async Task<IReadOnlyDictionary<LayerId, int>> LayerUses() =>
        (await Read<UseRow>($"SELECT layer.value AS layer, count(*) AS uses FROM {database.RowsWithLayersSql} WHERE catalogue.layers IS NOT NULL GROUP BY layer.value", parameters: null))
            .ToDictionary(row => LayerId.Parse(row.Layer, provider: null), row => (int)row.Uses);

    public async Task<IReadOnlyList<ImageView>> ImagesOfDepth(int layers) =>
        [.. (await Read<string>($"SELECT view FROM catalogue WHERE kind = 'image' AND status = 'ready' AND {database.CountOfLayersSql} >= @layers ORDER BY createdAt, id", new { layers }))
            .Select(view => JsonSerializer.Deserialize<ImageView>(view, InstancesJson.Options)!)];

    public async Task<IReadOnlyList<ImageLayers>> ImageLayers() =>
        [.. (await Read<ImageLayersRow>("SELECT id, name, status, CAST(layers AS TEXT) AS layers, enterprise FROM catalogue WHERE kind = 'image' AND status <> 'failed'", parameters: null))
            .Select(row => new ImageLayers(
                ImageId.Parse(row.Id, provider: null), row.Name, JsonSerializer.Deserialize<ImageStatus>($"\"{row.Status}\"", InstancesJson.Options),
                row.Layers is { } layers ? JsonSerializer.Deserialize<IReadOnlyList<LayerId>>(layers, InstancesJson.Options)! : [],
                EnterpriseId.Parse(row.Enterprise, provider: null)))];

    public Task<IReadOnlyList<RequestId>> RequestsBefore(DateTimeOffset before, int limit) =>
        ReadIds<RequestId>(
            "SELECT id FROM catalogue WHERE kind = 'request' AND createdAt < @before ORDER BY createdAt, id LIMIT @limit", new { before = before.ToUnixTimeMilliseconds(), limit });

    public async Task<IReadOnlySet<ImageId>> KnownImages() =>
        (await ReadIds<ImageId>("SELECT id FROM catalogue WHERE kind = 'image'")).ToHashSet();

    /// <summary>The SQL of a page: the rows after the cursor, and one more that shows whether there is a next page.</summary>
    internal static string PageSql(string condition) =>
        $"SELECT createdAt, id, view FROM catalogue WHERE {condition} AND (createdAt, id) > (@createdAt, @id) ORDER BY createdAt, id LIMIT @limit";

    private async Task<Page<TView>> ReadPage<TView>(PageRequest page, Query query)
        where TView : class
    {
        var limit = CatalogueCursor.CheckLimit(page.Limit);
        var after = CatalogueCursor.Parse(page.Cursor);
        var rows = await Read<Row>(
            PageSql(query.Condition),
            new { owner = query.Owner, image = query.Image, enterprise = query.Enterprise, createdAt = after.CreatedAt, id = after.Id, limit = limit + 1 });

        var next = rows.Count > limit ? new CatalogueCursor(rows[limit - 1].CreatedAt, rows[limit - 1].Id).ToString() : null;
        return new(
            [.. rows.Take(limit).Select(row => Listable<TView>(row.Id, row.View)).OfType<TView>()],
            next);
    }

    /// <summary>Null for a view that a later release wrote and this one cannot read, such as an operation of a new kind. The others are listed.</summary>
    private TView? Listable<TView>(string id, string view)
        where TView : class
    {
        try
        {
            return JsonSerializer.Deserialize<TView>(view, InstancesJson.Options);
        }
        catch (JsonException exception)
        {
            LogUnreadable(typeof(TView).Name, id, exception.Message);
            return null;
        }
    }

    private async Task<IReadOnlyList<TView>> ReadViews<TView>(string condition) =>
        [.. (await Read<string>($"SELECT view FROM catalogue WHERE {condition} ORDER BY createdAt, id", parameters: null))
            .Select(view => JsonSerializer.Deserialize<TView>(view, InstancesJson.Options)!)];

    private async Task<IReadOnlyList<TId>> ReadIds<TId>(string sql, object? parameters = null)
        where TId : struct, IGuidId<TId> =>
        [.. (await Read<string>(sql, parameters)).Select(id => TId.Parse(id, provider: null))];

    /// <summary>A pooled connection may have died with its server since its last use: a read is repeated once, on another connection.</summary>
    private async Task<List<T>> Read<T>(string sql, object? parameters)
    {
        try
        {
            return await Once();
        }
        catch (DbException exception) when (exception.IsTransient)
        {
            return await Once();
        }

        async Task<List<T>> Once()
        {
            await using var connection = await database.DataSource.OpenConnectionAsync();
            return (await connection.QueryAsync<T>(sql, parameters)).AsList();
        }
    }

    /// <summary>A status as in JSON.</summary>
    private static string TextOf(ImageStatus status) => JsonSerializer.SerializeToElement(status, InstancesJson.Options).GetString()!;

    private sealed record Query(string Condition, string? Owner = null, string? Image = null, string? Enterprise = null);

    // Properties instead of constructor parameters: for a result without rows, or with a NULL in the first row, SQLite does not know the types.
    private sealed record UseRow
    {
        public string Layer { get; init; } = "";

        public long Uses { get; init; }
    }

    private sealed record Row(long CreatedAt, string Id, string View);

    private sealed record ImageLayersRow
    {
        public string Id { get; init; } = "";

        public string Name { get; init; } = "";

        public string Status { get; init; } = "";

        public string? Layers { get; init; }

        public string Enterprise { get; init; } = "";
    }
}

using System.Text.Json;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Storage;

/// <summary>The relations of images: their masters, their parents, and the machines that use them.</summary>
internal sealed partial class DatabaseCatalogue
{
    private const string Node = """
        SELECT createdAt, id, view,
            (SELECT count(*) FROM catalogue AS users WHERE users.image = node.id AND users.kind = 'virtual-machine') AS users,
            (SELECT count(*) FROM catalogue AS children WHERE children.image = node.id AND children.kind = 'image') AS children
        FROM catalogue AS node WHERE kind = 'image' AND status <> 'failed' AND
        """;

    public async Task<ImageLineage> Lineage(ImageId image, PageRequest page)
    {
        var node = await FindNode(image) ?? throw FaultException.NotFound("image-not-found", "There is no such image in the library.");
        var view = node.ToView();
        var (limit, after) = (CatalogueCursor.CheckLimit(page.Limit), CatalogueCursor.Parse(page.Cursor));
        var relation = view.Kind is ImageKind.Master ? "owner" : "image";
        var rows = await Read<NodeRow>(
            $"{Node} {relation} = @image AND (createdAt, id) > (@createdAt, @id) ORDER BY createdAt, id LIMIT @limit",
            new { image = image.ToString(), createdAt = after.CreatedAt, id = after.Id, limit = limit + 1 });
        var next = rows.Count > limit ? new CatalogueCursor(rows[limit - 1].CreatedAt, rows[limit - 1].Id).ToString() : null;
        return new(
            node.ToNode(),
            view.Master is { } master ? (await FindNode(master))?.ToNode() : null,
            view.Parent is { } parent ? (await FindNode(parent))?.ToNode() : null,
            new([.. rows.Take(limit).Select(row => row.ToNode())], next));
    }

    public async Task<ImageView?> FindImage(ImageId image)
    {
        var views = await Read<string>("SELECT view FROM catalogue WHERE kind = 'image' AND id = @id", new { id = image.ToString() });
        return views.Count == 0 ? null : JsonSerializer.Deserialize<ImageView>(views[0], InstancesJson.Options);
    }

    public Task<IReadOnlyList<VirtualMachineId>> UsersOfTree(ImageId master, int limit) =>
        ReadIds<VirtualMachineId>(
            """
            SELECT id FROM catalogue WHERE kind = 'virtual-machine'
                AND (image = @master OR image IN (SELECT id FROM catalogue WHERE kind = 'image' AND owner = @master)) LIMIT @limit
            """,
            new { master = master.ToString(), limit });

    public async Task<IReadOnlyList<RuledInstance>> RuledInstances(ImageId? master)
    {
        var rules = (await Read<RuleRow>("SELECT kind, id, enterprise, retention AS rule FROM catalogue WHERE retention IS NOT NULL", parameters: null))
            .ToDictionary(row => (row.Kind, row.Id, row.Enterprise), row => JsonSerializer.Deserialize<RetentionRule>(row.Rule, InstancesJson.Options));
        if (rules.Count == 0) return [];
        var rows = await Read<InstanceRow>(
            $"""
            SELECT owner, enterprise, view, CAST(CASE WHEN isExempt THEN 1 ELSE 0 END AS bigint) AS exempt,
                (SELECT count(*) FROM catalogue AS users WHERE users.image = instance.id AND users.kind = 'virtual-machine') AS users
            FROM catalogue AS instance WHERE kind = 'image' AND status = 'ready' AND {(master is null ? "owner IS NOT NULL" : "owner = @master")}
            """,
            new { master = master?.ToString() });
        return [.. rows.Select(ToInstance).Where(instance => (instance.OfMaster ?? instance.OfAppliance) is not null)];

        RuledInstance ToInstance(InstanceRow row)
        {
            var view = JsonSerializer.Deserialize<ImageView>(row.View, InstancesJson.Options)!;
            return new(
                view.Id, view.Capture!.VirtualMachine, view.CreatedAt, row.Exempt != 0, row.Users > 0,
                rules.GetValueOrDefault((CatalogueEntry.ImageKind, row.Owner, row.Enterprise)),
                rules.GetValueOrDefault((CatalogueEntry.Appliance, view.Capture.Appliance.ToString(), row.Enterprise)));
        }
    }

    private async Task<NodeRow?> FindNode(ImageId image) => (await Read<NodeRow>($"{Node} id = @id", new { id = image.ToString() })).SingleOrDefault();

    // Properties instead of constructor parameters: for a result without rows, SQLite does not know the type of a count.
    private sealed record NodeRow
    {
        public long CreatedAt { get; init; }

        public string Id { get; init; } = "";

        public string View { get; init; } = "";

        public long Users { get; init; }

        public long Children { get; init; }

        public ImageView ToView() => JsonSerializer.Deserialize<ImageView>(View, InstancesJson.Options)!;

        public LineageNode ToNode()
        {
            var view = ToView();
            return new(
                view.Id, view.Name, view.Kind, view.Status, view.Parent, view.CreatedAt, view.Bytes, Users, Children,
                view.Capture?.Appliance, view.Capture?.VirtualMachine, view.Capture?.VirtualMachineName);
        }
    }

    private sealed record RuleRow(string Kind, string Id, string Enterprise, string Rule);

    private sealed record InstanceRow
    {
        public string Owner { get; init; } = "";

        public string Enterprise { get; init; } = "";

        public string View { get; init; } = "";

        public long Exempt { get; init; }

        public long Users { get; init; }
    }
}

using System.Text.Json;
using Dapper;
using Instances.Catalogue;
using Instances.Faults;

namespace Instances.Storage;

/// <summary>The SQL of a page of operations, newest first. The indexes are those of the migration script 0012-operation-lists.sql.</summary>
internal sealed class OperationQuery
{
    /// <summary>Distinguishes its cursors from those of lists with the oldest first, as this one had in earlier releases.</summary>
    private const string CursorMark = "-";

    private readonly List<string> _conditions = ["kind = 'operation'"];

    /// <exception cref="FaultException">limit-invalid; cursor-invalid.</exception>
    public OperationQuery(IDatabase database, OperationFilter filter, PageRequest page)
    {
        Limit = CatalogueCursor.CheckLimit(page.Limit);
        if (filter.Appliance is { } appliance) Add("owner = @owner", "owner", appliance.ToString());
        if (filter.Image is { } image) Add("image = @image", "image", image.ToString());
        if (filter.Kind is { } kind) Add($"{database.KindOfViewSql} = @operationKind", "operationKind", TextOf(kind));
        if (filter.Status is { } status) Add("status = @status", "status", TextOf(status));
        if (page.Cursor is { } cursor)
        {
            var before = cursor.StartsWith(CursorMark, StringComparison.Ordinal) ? CatalogueCursor.Parse(cursor[CursorMark.Length..]) : throw CatalogueCursor.Refused();
            Add("(createdAt, id) < (@createdAt, @id)", "createdAt", before.CreatedAt);
            Parameters.Add("id", before.Id);
        }

        Parameters.Add("limit", Limit + 1);
    }

    public int Limit { get; }

    public DynamicParameters Parameters { get; } = new();

    /// <summary>The rows after the cursor, and one more that shows whether there is a next page.</summary>
    public string Sql => $"SELECT createdAt, id, view FROM catalogue WHERE {string.Join(" AND ", _conditions)} ORDER BY createdAt DESC, id DESC LIMIT @limit";

    public string CursorAfter(CatalogueCursor last) => $"{CursorMark}{last}";

    private void Add(string condition, string name, object value)
    {
        _conditions.Add(condition);
        Parameters.Add(name, value);
    }

    /// <summary>The text in JSON.</summary>
    private static string TextOf<TEnum>(TEnum value)
        where TEnum : struct, Enum => JsonSerializer.SerializeToElement(value, InstancesJson.Options).GetString()!;
}

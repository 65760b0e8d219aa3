using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Dapper;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Library;

namespace Instances.Storage;

/// <summary>The SQL of a page of images, with its filter and its order.</summary>
internal sealed class ImageQuery
{
    /// <summary>The most labels of a filter.</summary>
    public const int MaxLabels = 8;

    private readonly IDatabase _database;
    private readonly ImageFilter _filter;
    private readonly PageRequest _page;
    private readonly List<string> _conditions = ["kind = 'image'"];

    /// <exception cref="FaultException">filter-invalid; limit-invalid; cursor-invalid.</exception>
    public ImageQuery(IDatabase database, ImageFilter filter, PageRequest page)
    {
        (_database, _filter, _page) = (database, filter, page);
        Limit = CatalogueCursor.CheckLimit(page.Limit);
        AddStatus();
        AddOrigin();
        AddName();
        AddTime();
        foreach (var (index, label) in (filter.Labels ?? []).Index()) AddLabel(index, label);
        AddCursor();
        Parameters.Add("limit", Limit + 1);
    }

    public int Limit { get; }

    public DynamicParameters Parameters { get; } = new();

    /// <summary>The rows after the cursor, and one more that shows whether there is a next page.</summary>
    public string Sql
    {
        get
        {
            var direction = _filter.Descending ? " DESC" : "";
            return $"SELECT createdAt, id, searchName, bytes, view FROM catalogue WHERE {string.Join(" AND ", _conditions)} ORDER BY {Column}{direction}, id{direction} LIMIT @limit";
        }
    }

    public string CursorAfter(Row row)
    {
        var key = _filter.Order switch
        {
            ImageOrder.Created => Text(row.CreatedAt),
            ImageOrder.Name => row.SearchName,
            ImageOrder.Size => Text(row.Bytes),
        };
        return Base64Url.EncodeToString(Encoding.UTF8.GetBytes($"{Order}|{row.Id}|{key}"));
    }

    private string Column => _filter.Order switch
    {
        ImageOrder.Created => "createdAt",
        ImageOrder.Name => "searchName",
        ImageOrder.Size => "bytes",
    };

    /// <summary>A cursor is valid only for its own order.</summary>
    private string Order => $"{Column}{(_filter.Descending ? '-' : '+')}";

    private void AddStatus()
    {
        if (_filter.Status is { } status) Add("status = @status", "status", JsonSerializer.SerializeToElement(status, InstancesJson.Options).GetString()!);
        else _conditions.Add(_filter.IncludeRetired ? "status <> 'failed'" : DatabaseCatalogue.Listed);
        if (_filter.Kind is { } kind) _conditions.Add(ConditionOf(kind));
    }

    private void AddOrigin()
    {
        if (_filter.Master is { } master) Add("owner = @owner", "owner", master.ToString());
        if (_filter.Parent is { } parent) Add("image = @parent", "parent", parent.ToString());
        if (_filter.VirtualMachine is { } machine) Add("machine = @machine", "machine", machine.ToString());
        // There is no index for this, as for labels: the rows of the page's index are tested one by one.
        if (_filter.Enterprise is { } enterprise) Add("(enterprise = @enterprise OR isShared)", "enterprise", enterprise.ToString());
    }

    private void AddName()
    {
        if (_filter.Name is { } exact && Names.FindControl(exact) is not null) throw Refused("the name contains a control character, which no name has.");
        if (_filter.Search is { } part && Names.FindControl(part) is not null) throw Refused("the part of a name to search for contains a control character, which no name has.");
        if (_filter.Name is { } name) Add("name = @name", "name", name);
        if (_filter.Search is not { } search) return;
        if (search.Length is 0 or > Names.MaxLength) throw Refused($"the part of a name to search for has {search.Length} characters: 1 to {Names.MaxLength} are allowed.");
        var literal = search.ToUpperInvariant().Replace("\\", "\\\\", StringComparison.Ordinal).Replace("%", "\\%", StringComparison.Ordinal).Replace("_", "\\_", StringComparison.Ordinal);
        Add("searchName LIKE @search ESCAPE '\\'", "search", $"%{literal}%");
    }

    private void AddTime()
    {
        if (_filter.CreatedAfter is { } after) Add("createdAt >= @createdAfter", "createdAfter", after.ToUnixTimeMilliseconds());
        if (_filter.CreatedBefore is { } before) Add("createdAt < @createdBefore", "createdBefore", before.ToUnixTimeMilliseconds());
    }

    private void AddLabel(int index, string label)
    {
        if (index >= MaxLabels) throw Refused($"it has more than {MaxLabels} labels.");
        var parts = label.Split('=', 2);
        if (!ImageRules.IsLabelKey(parts[0])) throw Refused($"'{label}' is neither a label, key=value, nor the key of one.");
        Parameters.Add($"key{index}", parts[0]);
        var value = _database.LabelSql($"@key{index}");
        if (parts.Length == 2 && Names.FindControl(parts[1]) is not null) throw Refused($"the value of the label '{parts[0]}' contains a control character, which no label has.");
        if (parts.Length == 1) _conditions.Add($"{value} IS NOT NULL");
        else Add($"{value} = @value{index}", $"value{index}", parts[1]);
    }

    private void AddCursor()
    {
        if (_page.Cursor is not { } cursor) return;
        var parts = Base64Url.IsValid(cursor) ? Encoding.UTF8.GetString(Base64Url.DecodeFromChars(cursor)).Split('|', 3) : [];
        if (parts.Length != 3 || parts[0] != Order || !Guid.TryParseExact(parts[1], "D", out _)) throw CatalogueCursor.Refused();
        object key = _filter.Order is ImageOrder.Name ? parts[2]
            : long.TryParse(parts[2], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number
            : throw CatalogueCursor.Refused();
        Add($"({Column}, id) {(_filter.Descending ? '<' : '>')} (@after, @afterId)", "after", key);
        Parameters.Add("afterId", parts[1]);
    }

    private void Add(string condition, string name, object value)
    {
        _conditions.Add(condition);
        Parameters.Add(name, value);
    }

    // The owner of a slave is its master.
    private static string ConditionOf(ImageKind kind) => kind switch
    {
        ImageKind.Master => "owner IS NULL",
        ImageKind.Slave => "owner IS NOT NULL",
    };

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static FaultException Refused(string message) => FaultException.Invalid("filter-invalid", $"The filter is refused: {message}");

    internal sealed record Row(long CreatedAt, string Id, string SearchName, long Bytes, string View);
}

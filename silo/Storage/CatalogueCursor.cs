using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Instances.Catalogue;
using Instances.Faults;

namespace Instances.Storage;

/// <summary>The place after a row in the order of creation. Opaque to callers.</summary>
internal readonly record struct CatalogueCursor(long CreatedAt, string Id)
{
    private static readonly CatalogueCursor s_start = new(long.MinValue, "");

    /// <exception cref="FaultException">cursor-invalid.</exception>
    public static CatalogueCursor Parse(string? cursor)
    {
        if (cursor is null)
            return s_start;

        var parts = Base64Url.IsValid(cursor) ? Encoding.UTF8.GetString(Base64Url.DecodeFromChars(cursor)).Split('|') : [];
        return parts.Length == 2
            && long.TryParse(parts[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var createdAt)
            && Guid.TryParseExact(parts[1], "D", out _)
                ? new(createdAt, parts[1])
                : throw Refused();
    }

    public static FaultException Refused() =>
        FaultException.Invalid("cursor-invalid", "The cursor is not from a page of this list. Start again without a cursor.");

    /// <exception cref="FaultException">limit-invalid.</exception>
    public static int CheckLimit(int limit) =>
        limit is >= 1 and <= PageRequest.MaxLimit
            ? limit
            : throw FaultException.Invalid("limit-invalid", $"A page has 1 to {PageRequest.MaxLimit} rows, not {limit}.");

    public override string ToString() =>
        Base64Url.EncodeToString(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{CreatedAt}|{Id}")));
}

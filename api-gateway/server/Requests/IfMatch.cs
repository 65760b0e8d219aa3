using System.Globalization;
using Microsoft.Net.Http.Headers;

namespace Instances.Requests;

/// <summary>The header <c>If-Match</c>: the versions that a change was made for. An entity tag is the version in quotes.</summary>
/// <param name="Versions">Empty where the header is not there or is <c>*</c>: any version will do.</param>
internal sealed record IfMatch(IReadOnlyList<long> Versions)
{
    /// <summary>No thing has it: what is a tag and none of ours matches nothing.</summary>
    private const long NoVersion = -1;

    public bool IsGiven => Versions.Count > 0;

    /// <summary>The version to ask for: the present one where it is among those that were named, or where none was.</summary>
    public long Choose(long present) => !IsGiven || Versions.Contains(present) ? present : Versions[0];

    public static string Tag(long version) => string.Create(CultureInfo.InvariantCulture, $"\"{version}\"");

    public static ValueTask<IfMatch> BindAsync(HttpContext context)
    {
        var values = context.Request.Headers.IfMatch;
        if (values.Count == 0) return ValueTask.FromResult(new IfMatch([]));
        if (!EntityTagHeaderValue.TryParseStrictList(values, out var tags)) throw new BadHttpRequestException("If-Match has to be the ETag of the image, in its quotes, or *.");
        return ValueTask.FromResult(new IfMatch(tags.Any(tag => tag.Equals(EntityTagHeaderValue.Any)) ? [] : [.. tags.Select(VersionOf)]));
    }

    private static long VersionOf(EntityTagHeaderValue tag) =>
        !tag.IsWeak && long.TryParse(tag.Tag.AsSpan().Trim('"'), NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : NoVersion;
}

using System.Globalization;
using Instances.Faults;
using Microsoft.Net.Http.Headers;

namespace Instances.Requests;

/// <summary>The header <c>If-Match</c>: the versions that a change was made for. An entity tag is the version in quotes.</summary>
/// <param name="Versions">Empty if the header is missing or is <c>*</c>: any version matches.</param>
internal sealed record IfMatch(IReadOnlyList<long> Versions)
{
    /// <summary>How often a change without If-Match is retried if another client changes the resource between reading and writing.</summary>
    private const int MaxAttempts = 5;

    /// <summary>No resource has this version: a tag that is not a version matches nothing.</summary>
    private const long NoVersion = -1;

    public bool IsGiven => Versions.Count > 0;

    /// <summary>The version to require: the current one, if the header names it or names none.</summary>
    public long Choose(long present) => !IsGiven || Versions.Contains(present) ? present : Versions[0];

    /// <summary>Reads, and changes what was read.</summary>
    /// <param name="change">Throws a fault of the kind Changed if the resource has changed since it was read.</param>
    public async Task<TView> Change<TView>(Func<Task<TView>> read, Func<TView, Task<TView>> change)
    {
        for (var attempt = 1; ; attempt++)
        {
            var present = await read();
            try
            {
                return await change(present);
            }
            catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Changed && !IsGiven && attempt < MaxAttempts)
            {
                // Another client was faster: keep its changes to members that the patch does not name.
            }
        }
    }

    public static string Tag(long version) => string.Create(CultureInfo.InvariantCulture, $"\"{version}\"");

    public static ValueTask<IfMatch> BindAsync(HttpContext context)
    {
        var values = context.Request.Headers.IfMatch;
        if (values.Count == 0) return ValueTask.FromResult(new IfMatch([]));
        if (!EntityTagHeaderValue.TryParseStrictList(values, out var tags)) throw new BadHttpRequestException("If-Match has to be the ETag of what is changed, in its quotes, or *.");
        return ValueTask.FromResult(new IfMatch(tags.Any(tag => tag.Equals(EntityTagHeaderValue.Any)) ? [] : [.. tags.Select(VersionOf)]));
    }

    private static long VersionOf(EntityTagHeaderValue tag) =>
        !tag.IsWeak && long.TryParse(tag.Tag.AsSpan().Trim('"'), NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : NoVersion;
}

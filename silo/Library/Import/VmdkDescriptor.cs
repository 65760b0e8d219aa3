using System.Text;
using System.Text.RegularExpressions;

namespace Instances.Library.Import;

/// <summary>The text in a VMDK file that lists the extents of its disk. It must name only the file itself.</summary>
internal static partial class VmdkDescriptor
{
    private const string NoParent = "ffffffff";

    private static readonly string[] s_kinds = ["monolithicSparse", "streamOptimized"];

    /// <summary>Whether the whole file is such a text.</summary>
    public static bool Recognizes(ReadOnlySpan<byte> head)
    {
        var text = Encoding.Latin1.GetString(head);
        return text.StartsWith("# Disk DescriptorFile", StringComparison.OrdinalIgnoreCase) || VersionPattern().IsMatch(text);
    }

    public static void Check(string text)
    {
        // Readers look for these words anywhere in the text, not only at the beginning of a line.
        if (text.Contains("parentFileNameHint", StringComparison.OrdinalIgnoreCase) || ParentPattern().Matches(text).Any(parent => !parent.Groups[1].ValueSpan.Equals(NoParent, StringComparison.OrdinalIgnoreCase)))
            throw ImportFaults.RefersOutside("a parent");
        if (text.Contains("encryption.", StringComparison.OrdinalIgnoreCase))
            throw ImportFaults.Encrypted();
        if (text.Contains("changeTrackPath", StringComparison.OrdinalIgnoreCase))
            throw ImportFaults.RefersOutside("a file of changes");

        var lines = text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (KindPattern().Matches(text) is not [var kind] || !s_kinds.Contains(kind.Groups[1].Value, StringComparer.OrdinalIgnoreCase))
            throw ImportFaults.UnsupportedKind("a VMDK that is neither monolithic sparse nor stream-optimized");
        CheckExtents([.. lines.Where(line => AccessPattern().IsMatch(line))]);
    }

    private static void CheckExtents(IReadOnlyList<string> extents)
    {
        if (extents.Count > 1)
            throw ImportFaults.RefersOutside("extents in other files");

        // It names itself by its original file name, which is not known here: a name without a path counts as its own.
        if (extents.Count == 0 || ExtentPattern().Match(extents[0]) is not { Success: true } extent)
            throw ImportFaults.Malformed("its description has no extent");
        if (extent.Groups["type"].Value != "SPARSE" || extent.Groups["name"].Value is ".." or "." || extent.Groups["name"].ValueSpan.IndexOfAny(@"/\:") >= 0)
            throw ImportFaults.RefersOutside("an extent in another file");
    }

    [GeneratedRegex(@"\A(\s*(#[^\n]*)?\n)*version\s*=\s*[123]\s", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking)]
    private static partial Regex VersionPattern();

    [GeneratedRegex(@"parentCID\s*=\s*(\w*)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex ParentPattern();

    [GeneratedRegex(@"createType\s*=\s*""?([^""\r\n]*)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex KindPattern();

    [GeneratedRegex(@"^(RW|RDONLY|NOACCESS)\s", RegexOptions.CultureInvariant)]
    private static partial Regex AccessPattern();

    [GeneratedRegex(@"^\w+\s+[0-9]+\s+(?<type>\w+)\s+""(?<name>[^""]*)""", RegexOptions.CultureInvariant)]
    private static partial Regex ExtentPattern();
}

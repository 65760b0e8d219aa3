using System.Globalization;
using System.Text;

namespace Instances.Library.Export;

/// <summary>Converts the name of an image to a file name that is valid on any system.</summary>
internal static class ExportName
{
    /// <summary>The limit of file systems, less the extensions that are appended.</summary>
    private const int MaxBytes = 200;
    private const string Forbidden = "\\/:*?\"<>|%";

    /// <returns>The image's id if nothing of its name is left.</returns>
    public static string Of(string name, ImageId image)
    {
        var text = new StringBuilder();
        var bytes = 0;
        foreach (var rune in name.EnumerateRunes())
        {
            var kept = IsFit(rune) ? rune : new Rune('_');
            if ((bytes += kept.Utf8SequenceLength) > MaxBytes) break;
            text.Append(kept);
        }

        // A leading dot hides a file. Windows removes a trailing dot or space.
        var trimmed = text.ToString().Trim('.', ' ');
        return trimmed.Length > 0 ? trimmed : $"{image}";
    }

    /// <summary>Excludes characters with a meaning in paths, and invisible ones that reorder or hide text.</summary>
    private static bool IsFit(Rune rune) => rune != Rune.ReplacementChar
        && !Forbidden.Contains(rune.ToString(), StringComparison.Ordinal)
        && Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
            or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned);
}

using System.Globalization;
using System.Text;

namespace Instances.Library.Export;

/// <summary>The name of an image as the name of a file, on any system.</summary>
internal static class ExportName
{
    /// <summary>What file systems take, without the endings that are put behind.</summary>
    private const int MaxBytes = 200;
    private const string Forbidden = "\\/:*?\"<>|%";

    /// <returns>The image's id where nothing of its name is left.</returns>
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

        // A dot before it hides a file; one behind it, or a space, does not stay on Windows.
        var trimmed = text.ToString().Trim('.', ' ');
        return trimmed.Length > 0 ? trimmed : $"{image}";
    }

    /// <summary>Neither a character with a meaning in paths, nor one that is not seen and turns around or hides what is.</summary>
    private static bool IsFit(Rune rune) => rune != Rune.ReplacementChar
        && !Forbidden.Contains(rune.ToString(), StringComparison.Ordinal)
        && Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
            or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned);
}

using System.Text;

namespace Instances;

/// <summary>Text from outside this product: from a guest, a program that read a file of unknown origin, or another datacenter. It goes into records, which databases may refuse for one character.</summary>
internal static class ForeignText
{
    /// <summary>One line of at most so many characters. Control characters, U+0000 among them, and halves of surrogate pairs become spaces or are replaced.</summary>
    public static string Clean(string text, int maxCharacters)
    {
        var clean = new StringBuilder(Math.Min(text.Length, maxCharacters));
        foreach (var rune in text.EnumerateRunes())
        {
            if (clean.Length + rune.Utf16SequenceLength > maxCharacters) break;
            if (!Rune.IsControl(rune)) clean.Append(rune);
            else if (clean.Length > 0 && clean[^1] != ' ') clean.Append(' ');
        }

        return clean.ToString().Trim();
    }
}

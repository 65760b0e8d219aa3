using System.Text;

namespace Instances;

/// <summary>Cleans untrusted text: from a guest, a program that read an untrusted file, or another datacenter. It is stored in records, and databases may refuse a record for one character.</summary>
internal static class ForeignText
{
    /// <summary>Returns one line with a bounded number of characters. Control characters, including U+0000, and halves of surrogate pairs become spaces or are replaced.</summary>
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

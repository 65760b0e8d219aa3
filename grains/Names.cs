using System.Globalization;
using System.Text;
using Instances.Faults;
using Instances.Hosts;

namespace Instances;

/// <summary>The rules for names that users give.</summary>
internal static class Names
{
    public const int MaxLength = 128;
    public const int MaxDescriptionLength = 4096;

    private const int EmojiJoiner = 0x200D;
    private const int EmojiVariation = 0xFE0F;

    /// <exception cref="FaultException">name-invalid.</exception>
    public static string Require(string? name, string of)
    {
        if (string.IsNullOrWhiteSpace(name)) throw Refused($"The name of {of} is empty: give it 1 to {MaxLength} characters.");
        if (name.Length > MaxLength) throw Refused($"The name of {of} has {name.Length} characters: {MaxLength} are allowed.");
        if (HasUnprintable(name)) throw Refused($"The name of {of} holds a control or formatting character: use printable ones.");
        return name.Trim();
    }

    /// <exception cref="FaultException">description-invalid.</exception>
    public static string? RequireDescription(string? description)
    {
        if (description is null) return null;
        if (description.Length > MaxDescriptionLength)
            throw FaultException.Invalid("description-invalid", $"The description has {description.Length} characters: {MaxDescriptionLength} are allowed.");
        if (FindControl(description) is { } control)
            throw FaultException.Invalid("description-invalid", $"The description holds the control character U+{(int)control:X4}: only line breaks and tabs are allowed.");
        return description;
    }

    /// <summary>The first control character that is neither a tab nor a part of a line break.</summary>
    public static char? FindControl(string text)
    {
        foreach (var character in text)
        {
            if (char.IsControl(character) && character is not ('\n' or '\r' or '\t')) return character;
        }

        return null;
    }

    /// <summary>A machine's name is its guest's host name.</summary>
    /// <exception cref="FaultException">name-invalid.</exception>
    public static string RequireHostName(string? name) =>
        HostId.TryParse(name, null, out _)
            ? name!
            : throw Refused("A virtual machine's name is its guest's host name: 1 to 63 letters, digits and hyphens, no hyphen at either end.");

    public static bool IsPrintable(string text) => !HasUnprintable(text);

    private static FaultException Refused(string message) => FaultException.Invalid("name-invalid", message);

    // Right-to-left marks and similar characters can make a name look like another one. A joiner between two emoji is allowed, because its effect is visible.
    private static bool HasUnprintable(string name)
    {
        var isAfterEmoji = false;
        foreach (var rune in name.EnumerateRunes())
        {
            if (rune == Rune.ReplacementChar || (IsUnprintable(rune) && !(isAfterEmoji && rune.Value == EmojiJoiner))) return true;
            isAfterEmoji = Rune.GetUnicodeCategory(rune) is UnicodeCategory.OtherSymbol or UnicodeCategory.ModifierSymbol || rune.Value == EmojiVariation;
        }

        return false;
    }

    private static bool IsUnprintable(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator
            or UnicodeCategory.ParagraphSeparator or UnicodeCategory.OtherNotAssigned;
}

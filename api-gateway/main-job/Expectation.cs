using System.Diagnostics.CodeAnalysis;

namespace Instances.MainJob;

/// <summary>Something was not as the job expects it.</summary>
internal sealed class ExpectationException(string what, string expected, string found)
    : Exception($"{what}: expected {expected}, found {found}.");

internal static class Expect
{
    public static void Equal<T>(string what, T expected, T found)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found)) throw new ExpectationException(what, Text(expected), Text(found));
    }

    /// <summary>The same members, in any order.</summary>
    public static void Same<T>(string what, IEnumerable<T> expected, IEnumerable<T> found)
    {
        var (wanted, got) = (expected.ToHashSet(), found.ToHashSet());
        if (!wanted.SetEquals(got)) throw new ExpectationException(what, Text(wanted), Text(got));
    }

    public static void True([DoesNotReturnIf(false)] bool condition, string what, string expected, string found)
    {
        if (!condition) throw new ExpectationException(what, expected, found);
    }

    private static string Text<T>(T value) => value switch
    {
        null => "nothing",
        System.Collections.IEnumerable items and not string => $"[{string.Join(", ", items.Cast<object>())}]",
        _ => value.ToString() ?? "",
    };
}

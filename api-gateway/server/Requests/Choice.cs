using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace Instances.Requests;

/// <summary>A query parameter that is one of an enum's values, spelt as in JSON. (Plain enum binding takes any number for a value.)</summary>
internal readonly record struct Choice<TEnum>(TEnum Value) : IParsable<Choice<TEnum>>
    where TEnum : struct, Enum
{
    public static IReadOnlyDictionary<string, TEnum> Values { get; } =
        Enum.GetValues<TEnum>().ToDictionary(value => JsonNamingPolicy.CamelCase.ConvertName(value.ToString()), StringComparer.OrdinalIgnoreCase);

    public static Choice<TEnum> Parse(string s, IFormatProvider? provider) =>
        TryParse(s, provider, out var result) ? result : throw new FormatException($"'{s}' is not one of: {string.Join(", ", Values.Keys)}.");

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out Choice<TEnum> result)
    {
        var isValue = Values.TryGetValue(s ?? "", out var value);
        result = new(value);
        return isValue;
    }
}

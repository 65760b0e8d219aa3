using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Instances;

/// <summary>A typed key that is a UUID: parsed once at the edge, so that the id of one thing is never taken for another's.</summary>
public interface IGuidId<TSelf> : IParsable<TSelf>
    where TSelf : struct, IGuidId<TSelf>
{
    Guid Value { get; }

    static abstract TSelf From(Guid value);
}

/// <summary>The one text form of every id: lower case, 36 characters, with hyphens.</summary>
internal static class GuidId
{
    public static string Format(Guid value) => value.ToString("D");

    public static TId Parse<TId>(string text)
        where TId : struct, IGuidId<TId> =>
        TryParse<TId>(text, out var id) ? id : throw new FormatException($"'{text}' is not a {typeof(TId).Name}: expected a UUID with hyphens.");

    public static bool TryParse<TId>([NotNullWhen(true)] string? text, out TId id)
        where TId : struct, IGuidId<TId>
    {
        var isId = Guid.TryParseExact(text, "D", out var value);
        id = TId.From(value);
        return isId;
    }
}

/// <summary>Writes ids as plain JSON strings.</summary>
public sealed class IdJsonConverter<TId> : JsonConverter<TId>
    where TId : struct, IGuidId<TId>
{
    public override TId Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        GuidId.TryParse<TId>(reader.GetString(), out var id) ? id : throw new JsonException($"Expected a {typeof(TId).Name}: a UUID with hyphens.");

    public override void Write(Utf8JsonWriter writer, TId value, JsonSerializerOptions options) =>
        writer.WriteStringValue(GuidId.Format(value.Value));
}

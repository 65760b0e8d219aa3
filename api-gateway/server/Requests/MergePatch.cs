using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.Requests;

/// <summary>A JSON merge patch (RFC 7396) for a specification: what it names is replaced, null takes it back to its default, the rest stays.</summary>
[JsonConverter(typeof(MergePatchJsonConverterFactory))]
internal sealed record MergePatch<TSpec>(JsonObject Fields)
{
    /// <exception cref="BadHttpRequestException">The result is no specification.</exception>
    public TSpec Apply(TSpec spec, IOptions<JsonOptions> json)
    {
        var options = json.Value.SerializerOptions;
        var merged = JsonSerializer.SerializeToNode(spec, options)!.AsObject();
        Merge(merged, Fields, options.GetTypeInfo(typeof(TSpec)));
        try
        {
            return merged.Deserialize<TSpec>(options)!;
        }
        catch (JsonException exception)
        {
            throw new BadHttpRequestException(exception.Message, exception);
        }
    }

    private static void Merge(JsonObject target, JsonObject patch, JsonTypeInfo type)
    {
        // Properties are found whatever their case, as everywhere; the keys of a dictionary are somebody's own words.
        var comparison = type.Kind is JsonTypeInfoKind.Object ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;
        foreach (var (name, value) in patch)
        {
            var property = target.Select(pair => pair.Key).FirstOrDefault(key => key.Equals(name, comparison)) ?? name;
            if (value is JsonObject inner && InnerType(type, name) is { Kind: JsonTypeInfoKind.Object or JsonTypeInfoKind.Dictionary } innerType)
            {
                var whole = target[property] as JsonObject;
                if (whole is null) target[property] = whole = [];
                Merge(whole, inner, innerType);
                continue;
            }

            target.Remove(property);
            if (value is not null) target.Add(property, value.DeepClone());
        }
    }

    private static JsonTypeInfo? InnerType(JsonTypeInfo type, string name) =>
        type.Properties.FirstOrDefault(property => property.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } found ? type.Options.GetTypeInfo(found.PropertyType) : null;
}

internal sealed class MergePatchJsonConverterFactory : JsonConverterFactory
{
    public override bool CanConvert(Type typeToConvert) =>
        typeToConvert.IsGenericType && typeToConvert.GetGenericTypeDefinition() == typeof(MergePatch<>);

    public override JsonConverter CreateConverter(Type typeToConvert, JsonSerializerOptions options) =>
        (JsonConverter)Activator.CreateInstance(typeof(Converter<>).MakeGenericType(typeToConvert.GetGenericArguments()))!;

    private sealed class Converter<TSpec> : JsonConverter<MergePatch<TSpec>>
    {
        public override MergePatch<TSpec> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            if (reader.TokenType is not JsonTokenType.StartObject) throw new JsonException("expected an object that holds the properties to change.");
            var fields = JsonNode.Parse(ref reader)!.AsObject();
            try
            {
                // Counting reads the properties, which finds a name that stands twice.
                return fields.Count == 0 ? new([]) : new(fields);
            }
            catch (ArgumentException)
            {
                throw new JsonException("a property stands there twice.");
            }
        }

        public override void Write(Utf8JsonWriter writer, MergePatch<TSpec> value, JsonSerializerOptions options) => value.Fields.WriteTo(writer);
    }
}

using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.Requests;

/// <summary>A JSON merge patch (RFC 7396) for a specification: what it names is replaced, null takes it back to its default, the rest stays.</summary>
[JsonConverter(typeof(MergePatchJsonConverterFactory))]
internal sealed record MergePatch<TSpec>(JsonObject Fields)
{
    /// <summary>Specifications are flat, so that a patch goes no deeper than their own properties.</summary>
    /// <exception cref="BadHttpRequestException">The result is no specification.</exception>
    public TSpec Apply(TSpec spec, IOptions<JsonOptions> json)
    {
        var options = json.Value.SerializerOptions;
        var merged = JsonSerializer.SerializeToNode(spec, options)!.AsObject();
        foreach (var (name, value) in Fields)
        {
            var property = merged.Select(pair => pair.Key).FirstOrDefault(key => key.Equals(name, StringComparison.OrdinalIgnoreCase)) ?? name;
            merged.Remove(property);
            if (value is not null) merged.Add(property, value.DeepClone());
        }

        try
        {
            return merged.Deserialize<TSpec>(options)!;
        }
        catch (JsonException exception)
        {
            throw new BadHttpRequestException(exception.Message, exception);
        }
    }
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

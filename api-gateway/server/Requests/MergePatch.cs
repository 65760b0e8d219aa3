using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.Requests;

/// <summary>A JSON merge patch (RFC 7396) for a specification. A client can send back what GET returned: properties of the view that are not part of the specification are ignored.</summary>
[JsonConverter(typeof(MergePatchJsonConverterFactory))]
internal sealed record MergePatch<TSpec, TView>(JsonObject Fields)
{
    /// <exception cref="BadHttpRequestException">The result is not a valid specification.</exception>
    public TSpec Apply(TSpec spec, IOptions<JsonOptions> json)
    {
        try
        {
            return JsonMerge.Apply(spec, Fields, json.Value.SerializerOptions);
        }
        catch (JsonException exception)
        {
            throw new BadHttpRequestException(exception.Message, exception);
        }
    }

    /// <summary>Creates a patch for a grain to apply.</summary>
    /// <param name="example">Any specification, to check the types and names of the patch.</param>
    /// <exception cref="BadHttpRequestException">It does not result in a valid specification.</exception>
    public PatchDocument ToDocument(TSpec example, IOptions<JsonOptions> json)
    {
        Apply(example, json);
        return new(Fields.ToJsonString());
    }
}

internal sealed class MergePatchJsonConverterFactory : JsonConverterFactory
{
    public override bool CanConvert(Type typeToConvert) =>
        typeToConvert.IsGenericType && typeToConvert.GetGenericTypeDefinition() == typeof(MergePatch<,>);

    public override JsonConverter CreateConverter(Type typeToConvert, JsonSerializerOptions options) =>
        (JsonConverter)Activator.CreateInstance(typeof(Converter<,>).MakeGenericType(typeToConvert.GetGenericArguments()))!;

    private sealed class Converter<TSpec, TView> : JsonConverter<MergePatch<TSpec, TView>>
    {
        public override MergePatch<TSpec, TView> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            if (reader.TokenType is not JsonTokenType.StartObject) throw new JsonException("expected an object that holds the properties to change.");
            var fields = JsonNode.Parse(ref reader)!.AsObject();
            try
            {
                // Counting reads the properties, which finds duplicate names.
                if (fields.Count == 0) return new([]);
            }
            catch (ArgumentException)
            {
                throw new JsonException("a property occurs twice.");
            }

            var changeable = NamesOf(typeof(TSpec), options);
            var readOnly = NamesOf(typeof(TView), options).Except(changeable, StringComparer.OrdinalIgnoreCase).ToHashSet(StringComparer.OrdinalIgnoreCase);
            var left = fields.Where(field => readOnly.Contains(field.Key)).Select(field => field.Key).ToList();
            if (left.Count == fields.Count) throw new JsonException($"{left[0]} cannot be changed here: these can be: {string.Join(", ", changeable)}.");
            foreach (var name in left) fields.Remove(name);
            return new(fields);
        }

        public override void Write(Utf8JsonWriter writer, MergePatch<TSpec, TView> value, JsonSerializerOptions options) => value.Fields.WriteTo(writer);

        private static List<string> NamesOf(Type type, JsonSerializerOptions options) => [.. options.GetTypeInfo(type).Properties.Select(property => property.Name)];
    }
}

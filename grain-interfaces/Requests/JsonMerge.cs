using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;

namespace Instances.Requests;

/// <summary>A JSON merge patch (RFC 7396) of a specification: members that it names are replaced, null resets a member to its default, and other members stay.</summary>
/// <param name="Json">An object.</param>
[GenerateSerializer, Immutable, Alias("instances.PatchDocument")]
public sealed record PatchDocument([property: Id(0)] string Json)
{
    /// <exception cref="JsonException">The result is not a valid specification.</exception>
    public TSpec ApplyTo<TSpec>(TSpec spec) => JsonMerge.Apply(spec, JsonNode.Parse(Json)!.AsObject(), InstancesJson.Options);
}

public static class JsonMerge
{
    /// <exception cref="JsonException">The result is not a valid specification.</exception>
    public static TSpec Apply<TSpec>(TSpec spec, JsonObject patch, JsonSerializerOptions options)
    {
        var merged = JsonSerializer.SerializeToNode(spec, options)!.AsObject();
        Merge(merged, patch, options.GetTypeInfo(typeof(TSpec)));
        return merged.Deserialize<TSpec>(options)!;
    }

    private static void Merge(JsonObject target, JsonObject patch, JsonTypeInfo type)
    {
        // Property names are matched without regard to case, as everywhere. The keys of a dictionary are the user's own and are matched exactly.
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

using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Instances;

/// <summary>The one JSON form of contracts: in HTTP answers, in stored state, and in the files beside layers and machines.</summary>
public static class InstancesJson
{
    public static JsonSerializerOptions Options { get; } = CreateOptions();

    /// <summary>Applies the form to options that a framework owns.</summary>
    public static void Apply(JsonSerializerOptions options)
    {
        options.PropertyNamingPolicy = JsonNamingPolicy.CamelCase;
        options.DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull;
        options.RespectNullableAnnotations = true;
        options.RespectRequiredConstructorParameters = true;
        // Null is written by leaving the property out, so that it may be missing where it may be null.
        options.TypeInfoResolver = (options.TypeInfoResolver ?? new DefaultJsonTypeInfoResolver()).WithAddedModifier(RequireOnlyWhatIsNeverNull);
        options.Converters.Add(new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false));
    }

    private static void RequireOnlyWhatIsNeverNull(JsonTypeInfo type)
    {
        foreach (var property in type.Properties) property.IsRequired &= !property.IsSetNullable;
    }

    private static JsonSerializerOptions CreateOptions()
    {
        var options = new JsonSerializerOptions(JsonSerializerDefaults.Web);
        Apply(options);
        options.MakeReadOnly(populateMissingResolver: true);
        return options;
    }
}

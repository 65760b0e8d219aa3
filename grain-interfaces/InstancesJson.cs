using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Instances;

/// <summary>The one JSON form of contracts: in HTTP answers, in stored state, and in the files beside layers and machines.</summary>
public static class InstancesJson
{
    public static JsonSerializerOptions Options { get; } = CreateOptions();

    /// <summary>Applies the JSON form of requests and answers to a framework's options, without <see cref="UnknownMembers"/>: unknown members of requests can be refused.</summary>
    public static void Apply(JsonSerializerOptions options)
    {
        ApplyForm(options);
        options.TypeInfoResolver = options.TypeInfoResolver!.WithAddedModifier(LeaveOutUnknownMembers);
    }

    private static void ApplyForm(JsonSerializerOptions options)
    {
        options.PropertyNamingPolicy = JsonNamingPolicy.CamelCase;
        options.DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull;
        options.RespectNullableAnnotations = true;
        options.RespectRequiredConstructorParameters = true;
        // A null property is not written. So a property that may be null may also be missing.
        options.TypeInfoResolver = (options.TypeInfoResolver ?? new DefaultJsonTypeInfoResolver()).WithAddedModifier(RequireOnlyWhatIsNeverNull);
        options.Converters.Add(new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false));
    }

    private static void RequireOnlyWhatIsNeverNull(JsonTypeInfo type)
    {
        foreach (var property in type.Properties) property.IsRequired &= !property.IsSetNullable;
    }

    private static void LeaveOutUnknownMembers(JsonTypeInfo type)
    {
        if (type.Kind is JsonTypeInfoKind.Object && type.Properties.FirstOrDefault(property => property.IsExtensionData) is { } unknown) type.Properties.Remove(unknown);
    }

    private static JsonSerializerOptions CreateOptions()
    {
        var options = new JsonSerializerOptions(JsonSerializerDefaults.Web);
        ApplyForm(options);
        options.MakeReadOnly(populateMissingResolver: true);
        return options;
    }
}

using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Requests;
using Instances.VirtualMachines;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Instances.OpenApi;

/// <summary>Describes the types that have a JSON converter.</summary>
internal sealed class SchemaTransformer : IOpenApiSchemaTransformer
{
    public async Task TransformAsync(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
        if (IsId(type)) (schema.Type, schema.Format) = (JsonSchemaType.String, "uuid");
        else if (type == typeof(HostId)) schema.Type = JsonSchemaType.String;
        else if (type.IsEnum) schema.Type = JsonSchemaType.String;
        else if (type == typeof(VirtualMachineChoice)) DescribeChoice(schema);
        else if (IsPatch(type)) await DescribePatch(schema, context, type.GetGenericArguments()[0], cancellationToken);

        if (context.JsonTypeInfo.Kind is JsonTypeInfoKind.Object) DescribeObject(schema, context.JsonTypeInfo);

        // The properties of a list are not visited if its element has a converter.
        if (ElementOf(type) is { } element && IsId(element)) schema.Items = Uuid();
    }

    private static void DescribeObject(OpenApiSchema schema, JsonTypeInfo type)
    {
        schema.Required = type.Properties.Where(property => property.IsRequired).Select(property => property.Name).ToHashSet();
        // Requests are strict; later releases may add members to answers.
        if (type.Type.Name.EndsWith("Spec", StringComparison.Ordinal) || type.Type.Name.EndsWith("Request", StringComparison.Ordinal)) return;
        schema.AdditionalPropertiesAllowed = true;
        schema.AdditionalProperties = null;
    }

    public static bool IsId(Type type) => type.GetInterfaces().Any(candidate =>
        candidate.IsGenericType && candidate.GetGenericTypeDefinition() == typeof(IGuidId<>));

    public static OpenApiSchema Uuid() => new() { Type = JsonSchemaType.String, Format = "uuid" };

    private static bool IsPatch(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(MergePatch<,>);

    private static Type? ElementOf(Type type) =>
        type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) ? type.GetGenericArguments()[0] : null;

    private static void DescribeChoice(OpenApiSchema schema) => schema.OneOf =
    [
        new OpenApiSchema { Type = JsonSchemaType.String, Enum = [JsonValue.Create(VirtualMachineChoice.All)] },
        new OpenApiSchema { Type = JsonSchemaType.Array, Items = Uuid() },
    ];

    /// <summary>A patch has the properties of the type that it changes, none of them required.</summary>
    private static async Task DescribePatch(
        OpenApiSchema schema, OpenApiSchemaTransformerContext context, Type spec, CancellationToken cancellationToken)
    {
        var whole = await context.GetOrCreateSchemaAsync(spec, null, cancellationToken);
        schema.Type = JsonSchemaType.Object;
        schema.Properties = whole.Properties;
        schema.Description = "A JSON merge patch (RFC 7396): members that are left out stay, and null resets a member to its default. A client can send back what GET returned: members that cannot be changed are ignored.";
    }
}

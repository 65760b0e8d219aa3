using System.Text.Json.Nodes;
using Instances.Library;
using Instances.Problems;
using Instances.Requests;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.Net.Http.Headers;
using Microsoft.OpenApi;

namespace Instances.OpenApi;

/// <summary>Adds what handlers bind manually (the datacenter, the idempotency key, uploads), and the problem answers.</summary>
internal sealed class OperationTransformer : IOpenApiOperationTransformer
{
    public async Task TransformAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        var description = context.Description;
        operation.Parameters ??= [];
        foreach (var parameter in operation.Parameters.OfType<OpenApiParameter>()) DescribeParameter(parameter, context);
        if (description.RelativePath!.Contains("{datacenter}", StringComparison.Ordinal)) operation.Parameters.Insert(0, Datacenter());
        if (description.HttpMethod == HttpMethods.Post) operation.Parameters.Add(IdempotencyKey());
        if (IsConditional(description.HttpMethod!, description.RelativePath)) operation.Parameters.Add(IfMatch());
        if (IsUpload(description.HttpMethod!, description.RelativePath)) operation.RequestBody = Upload("The bytes of the disk image.", "application/octet-stream");
        if (IsExport(description.RelativePath)) ((OpenApiResponse)operation.Responses!["200"]).Content = Binary("application/octet-stream");
        if (IsLayerContent(description.RelativePath)) DescribeRanges(operation);
        if (IsTus(description)) DescribeTus(operation, description);
        if (description.RelativePath.StartsWith("api/", StringComparison.Ordinal))
        {
            var problem = await context.GetOrCreateSchemaAsync(typeof(Problem), null, cancellationToken);
            context.Document!.AddComponent(nameof(Problem), problem);
            operation.Responses!["default"] = ProblemResponse(context.Document!);
        }
    }

    private static void DescribeParameter(OpenApiParameter parameter, OpenApiOperationTransformerContext context)
    {
        var declared = context.Description.ParameterDescriptions.First(candidate => candidate.Name == parameter.Name).ParameterDescriptor?.ParameterType;
        var type = declared is null ? null : Nullable.GetUnderlyingType(declared) ?? declared;
        if (type is not null && SchemaTransformer.IsId(type)) parameter.Schema = SchemaTransformer.Uuid();
        if (type is { IsGenericType: true } && type.GetGenericTypeDefinition() == typeof(Choice<>)) parameter.Schema = OneOf(type.GetGenericArguments()[0]);
    }

    private static OpenApiSchema OneOf(Type choice) => new()
    {
        Type = JsonSchemaType.String,
        Enum = [.. Enum.GetNames(choice).Select(name => (JsonNode)System.Text.Json.JsonNamingPolicy.CamelCase.ConvertName(name))],
    };

    private static bool IsUpload(string method, string path) =>
        method == HttpMethods.Post && path.TrimEnd('/').EndsWith("/images", StringComparison.Ordinal);

    private static bool IsExport(string path) => path.EndsWith("/images/{id}/export", StringComparison.Ordinal);

    private static bool IsLayerContent(string path) => path.EndsWith("/library/layers/{layerId}/content", StringComparison.Ordinal);

    private static void DescribeRanges(OpenApiOperation operation)
    {
        ((OpenApiResponse)operation.Responses!["206"]).Content = Binary("application/octet-stream");
        operation.Parameters!.Add(new OpenApiParameter
        {
            Name = HeaderNames.Range,
            In = ParameterLocation.Header,
            Required = true,
            Description = "Which bytes, such as bytes=0-65535.",
            Schema = new OpenApiSchema { Type = JsonSchemaType.String },
        });
    }

    private static bool IsConditional(string method, string path) =>
        (method == HttpMethods.Patch && (path.EndsWith("/images/{id}", StringComparison.Ordinal) || path.EndsWith("/enterprises/{id}", StringComparison.Ordinal)))
        || ((method == HttpMethods.Patch || method == HttpMethods.Delete)
            && (path.EndsWith("/appliances/{id}", StringComparison.Ordinal) || path.EndsWith("/virtual-machines/{id}", StringComparison.Ordinal)));

    private static OpenApiParameter IfMatch() => new()
    {
        Name = "If-Match",
        In = ParameterLocation.Header,
        Description = "The ETag of the resource when it was read: it is changed or deleted only if it still has that ETag. Left out, or *: any ETag.",
        Schema = new OpenApiSchema { Type = JsonSchemaType.String },
    };

    private static bool IsTus(ApiDescription description) =>
        description.RelativePath!.Contains("/images/uploads", StringComparison.Ordinal) && description.HttpMethod != HttpMethods.Get;

    private static void DescribeTus(OpenApiOperation operation, ApiDescription description)
    {
        if (description.HttpMethod == HttpMethods.Patch) operation.RequestBody = Upload("The bytes of the part.", Tus.PartType);
        operation.Parameters!.Add(new OpenApiParameter
        {
            Name = Tus.Resumable,
            In = ParameterLocation.Header,
            Required = true,
            Description = "The version of tus.",
            Schema = new OpenApiSchema { Type = JsonSchemaType.String, Enum = [Tus.Version] },
        });
    }

    private static OpenApiRequestBody Upload(string what, string type) => new()
    {
        Required = true,
        Description = what,
        Content = Binary(type),
    };

    private static Dictionary<string, OpenApiMediaType> Binary(string type) =>
        new() { [type] = new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" } } };

    private static OpenApiParameter Datacenter() => new()
    {
        Name = "datacenter",
        In = ParameterLocation.Path,
        Required = true,
        Description = "The name of a datacenter, as the list of datacenters shows it.",
        Schema = new OpenApiSchema { Type = JsonSchemaType.String },
    };

    private static OpenApiParameter IdempotencyKey() => new()
    {
        Name = RequestKey.Header,
        In = ParameterLocation.Header,
        Description = "A unique value that the client chooses. A repeat of the request with the same key gets the first answer and does nothing twice. Another request with the same key and path is refused (422 idempotency-key-reused).",
        Schema = new OpenApiSchema { Type = JsonSchemaType.String, MinLength = 1, MaxLength = RequestKey.MaxLength, Pattern = "^[!-~]+$" },
    };

    private static OpenApiResponse ProblemResponse(OpenApiDocument document) => new()
    {
        Description =
            "Not carried out: 400 malformed, 403 forbidden, 404 not found, 409 not in this status, 412 changed since, 413 too large, 415 not JSON, 422 can never succeed, "
            + "500 a defect, 503 unreachable at the moment (repeat after Retry-After), 507 not enough memory, disk or quota.",
        Content = new Dictionary<string, OpenApiMediaType>
        {
            [Problem.ContentType] = new() { Schema = new OpenApiSchemaReference(nameof(Problem), document) },
        },
    };
}

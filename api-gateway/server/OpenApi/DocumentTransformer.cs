using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Instances.OpenApi;

/// <summary>The title, description and licence of the document.</summary>
internal sealed class DocumentTransformer : IOpenApiDocumentTransformer
{
    public Task TransformAsync(OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new()
        {
            Title = "Instances",
            Version = "v1",
            Description =
                "Runs virtual appliances, which are groups of virtual machines, and creates instances of them: consistent snapshots, kept in the library "
                + "as slave images of their masters.\n\n"
                + "Long work answers 202 with the URL of an operation. Every POST takes an Idempotency-Key: a repeat with the same key gets the first answer, refusals included, for the time of Requests:KeepFor (default: 7 days). "
                + "A request that is not carried out is answered with a problem (RFC 9457), whose code is for programs and whose detail says what to do.",
            License = new() { Name = "MIT", Identifier = "MIT" },
        };
        // Paths are relative to the server of the document.
        document.Servers = [];
        // Enums that only parameters use are also strings.
        foreach (var schema in (document.Components?.Schemas?.Values ?? []).OfType<OpenApiSchema>().Where(schema => schema is { Enum.Count: > 0, Type: null })) schema.Type = JsonSchemaType.String;
        return Task.CompletedTask;
    }
}

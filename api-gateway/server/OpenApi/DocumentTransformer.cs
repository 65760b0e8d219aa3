using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Instances.OpenApi;

internal sealed class DocumentTransformer : IOpenApiDocumentTransformer
{
    public Task TransformAsync(OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new() { Title = "Instances", Version = "v1" };
        return Task.CompletedTask;
    }
}

using Instances.Faults;

namespace Instances.Problems;

/// <summary>Keeps pages of other sites, in a browser that can reach this server, from changing anything.</summary>
internal static class SameOrigin
{
    public static void UseSameOrigin(this IApplicationBuilder app) => app.Use((context, next) =>
    {
        context.Response.Headers.XContentTypeOptions = "nosniff";
        if (IsSafe(context.Request) || IsOwn(context.Request)) return next(context);
        throw new FaultException(new(
            FaultKind.Forbidden,
            "cross-origin",
            "A page of another site sent this request. Only this server's own pages and programs other than browsers may change things."));
    });

    private static bool IsSafe(HttpRequest request) =>
        HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method) || HttpMethods.IsOptions(request.Method);

    /// <summary>Programs other than browsers send neither header.</summary>
    private static bool IsOwn(HttpRequest request) => (string?)request.Headers["Sec-Fetch-Site"] switch
    {
        "same-origin" or "none" => true,
        not null => false,
        null => (string?)request.Headers.Origin is not { } origin
            || (Uri.TryCreate(origin, UriKind.Absolute, out var uri) && uri.Authority.Equals(request.Host.Value, StringComparison.OrdinalIgnoreCase)),
    };
}

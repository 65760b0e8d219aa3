using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Problems;

/// <summary>The pages at the URLs that are the types of problems.</summary>
internal static class ProblemPages
{
    public const string Path = "/problems";

    public static void MapProblemPages(this IEndpointRouteBuilder routes) =>
        routes.MapGet($"{Path}/{{code:regex(^[a-z0-9-]{{{{1,64}}}}$)}}", Get).ExcludeFromDescription();

    private static ContentHttpResult Get(string code) => TypedResults.Text(
        $"""
        {code}

        This is the code of a problem. It is stable: programs may decide by it.
        The sentence in 'detail' of the answer says what was found, and what to do.
        The header Retry-After of an answer says when to repeat the request. 'traceId' names the entry in the server's log.
        /docs describes the requests.

        """);
}

namespace Instances.Problems;

/// <summary>A problem that is not a fault, as a handler's answer.</summary>
internal sealed class ProblemResult(Problem problem) : IResult
{
    public Task ExecuteAsync(HttpContext httpContext) => problem.Write(httpContext);
}

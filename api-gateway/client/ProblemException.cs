using System.Net;

namespace Instances.Client;

/// <summary>A request was answered with a problem.</summary>
/// <param name="code">The problem's stable word, such as <c>appliance-busy</c>; null if the answer was no problem of this product.</param>
public sealed class ProblemException(HttpStatusCode status, string? code, string detail) : Exception(detail)
{
    public HttpStatusCode Status { get; } = status;

    public string? Code { get; } = code;

    /// <summary>When the server asks to repeat the request; null if it does not.</summary>
    public TimeSpan? RetryAfter { get; init; }
}

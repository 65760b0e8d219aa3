using Microsoft.AspNetCore.HostFiltering;

namespace Instances.Problems;

/// <summary>A server that listens on loopback only answers only to this machine's names. Otherwise a page of another site could point its own name here
/// (DNS rebinding) and pass for a page of this server. <c>AllowedHosts</c> in the configuration takes precedence.</summary>
internal static partial class LoopbackNames
{
    private static readonly string[] Names = ["localhost", "127.0.0.1", "[::1]"];

    public static void Restrict(HostFilteringOptions options, IConfiguration configuration)
    {
        var isConfigured = !string.IsNullOrEmpty(configuration["AllowedHosts"]);
        if (!isConfigured && ListensOnLoopbackOnly(configuration)) options.AllowedHosts = Names;
    }

    public static void WarnIfOpen(IConfiguration configuration, ILogger logger)
    {
        if (string.IsNullOrEmpty(configuration["AllowedHosts"]) && !ListensOnLoopbackOnly(configuration)) LogOpen(logger);
    }

    [LoggerMessage(LogLevel.Warning, "The server listens on addresses other than loopback and answers to every name: a page of another site can use it by pointing its own name here (DNS rebinding). "
        + "Set AllowedHosts to the names of this server, with semicolons between them")]
    private static partial void LogOpen(ILogger logger);

    private static bool ListensOnLoopbackOnly(IConfiguration configuration) =>
        configuration[WebHostDefaults.ServerUrlsKey] is { Length: > 0 } urls
        && urls.Split(';').All(url => Uri.TryCreate(url, UriKind.Absolute, out var address) && address.IsLoopback);
}

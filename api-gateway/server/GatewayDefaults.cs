using Microsoft.Extensions.Configuration.Memory;

namespace Instances.ApiGateway;

/// <summary>The defaults of a gateway in its own process.</summary>
internal static class GatewayDefaults
{
    private const string Url = "http://127.0.0.1:8080";

    private static readonly Dictionary<string, string?> Logging = new()
    {
        ["Logging:LogLevel:Microsoft.AspNetCore"] = nameof(LogLevel.Warning),
        ["Logging:LogLevel:Orleans"] = nameof(LogLevel.Warning),
        // It logs an unreachable datacenter every second with a stack trace; the gateway itself logs it once.
        ["Logging:LogLevel:Orleans.Runtime.Messaging"] = nameof(LogLevel.Error),
    };

    public static void UseGatewayDefaults(this WebApplicationBuilder builder)
    {
        // At the lowest precedence: files, variables and arguments override it.
        ((IConfigurationBuilder)builder.Configuration).Sources.Insert(0, new MemoryConfigurationSource { InitialData = Logging });

        // The gateway listens on loopback only, unless an address is configured.
        string[] addresses = [WebHostDefaults.ServerUrlsKey, WebHostDefaults.HttpPortsKey, WebHostDefaults.HttpsPortsKey];
        if (addresses.All(key => string.IsNullOrEmpty(builder.Configuration[key]))) builder.WebHost.UseUrls(Url);
    }
}

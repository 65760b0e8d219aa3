using Microsoft.Extensions.Configuration.Memory;

namespace Instances.ApiGateway;

/// <summary>What a gateway in a process of its own does where nothing else is configured.</summary>
internal static class GatewayDefaults
{
    private const string Url = "http://127.0.0.1:8080";

    private static readonly Dictionary<string, string?> Logging = new()
    {
        ["Logging:LogLevel:Microsoft.AspNetCore"] = nameof(LogLevel.Warning),
        ["Logging:LogLevel:Orleans"] = nameof(LogLevel.Warning),
        // Tells every second, with a stack trace, of a datacenter that is down; the gateway itself tells once.
        ["Logging:LogLevel:Orleans.Runtime.Messaging"] = nameof(LogLevel.Error),
    };

    public static void UseGatewayDefaults(this WebApplicationBuilder builder)
    {
        // At the lowest place: any file, variable or argument goes before it.
        ((IConfigurationBuilder)builder.Configuration).Sources.Insert(0, new MemoryConfigurationSource { InitialData = Logging });

        // Nothing listens beyond this machine unless an address was configured.
        string[] addresses = [WebHostDefaults.ServerUrlsKey, WebHostDefaults.HttpPortsKey, WebHostDefaults.HttpsPortsKey];
        if (addresses.All(key => string.IsNullOrEmpty(builder.Configuration[key]))) builder.WebHost.UseUrls(Url);
    }
}

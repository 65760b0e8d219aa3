using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json;
using Instances.Client;

namespace Instances.Hosting;

/// <summary>What every command has that asks a datacenter through a gateway that runs.</summary>
internal sealed class GatewayOptions
{
    /// <summary>The exit code where the datacenter could not be asked.</summary>
    public const int NotAsked = 2;

    public Option<Uri> Url { get; } = new("--url")
    {
        Description = "The gateway's address.",
        DefaultValueFactory = _ => new($"http://127.0.0.1:{SiloCommand.DefaultPort}"),
        CustomParser = result => Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" ? uri : Refused(result),
    };

    public Option<string> Datacenter { get; } = new("--datacenter") { Description = "The datacenter's name.", DefaultValueFactory = _ => "local" };

    public Option<bool> Json { get; } = new("--json") { Description = "Print the report as JSON." };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { Url, Datacenter, Json }) command.Options.Add(option);
    }

    /// <returns>What <paramref name="run"/> returns, or <see cref="NotAsked"/>.</returns>
    public static async Task<int> Ask(Uri url, string datacenter, TextWriter errors, Func<InstancesClient, Task<int>> run)
    {
        try
        {
            using var http = new HttpClient { BaseAddress = url, Timeout = Timeout.InfiniteTimeSpan };
            return await run(new InstancesClient(http, datacenter));
        }
        catch (Exception exception) when (exception is ProblemException or HttpRequestException or IOException or JsonException or OperationCanceledException)
        {
            await errors.WriteLineAsync($"The datacenter '{datacenter}' could not be asked at {url}: {exception.Message}");
            return NotAsked;
        }
    }

    private static Uri? Refused(ArgumentResult result)
    {
        result.AddError("--url is an address such as http://127.0.0.1:8080.");
        return null;
    }
}

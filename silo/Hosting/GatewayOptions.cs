using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json;
using Instances.Client;
using Instances.Datacenters;

namespace Instances.Hosting;

/// <summary>The options of all commands that call a datacenter through a running gateway.</summary>
internal sealed class GatewayOptions
{
    /// <summary>More than enough: the gateway waits at most 2 s for each datacenter.</summary>
    private static readonly TimeSpan ListBound = TimeSpan.FromSeconds(30);

    /// <summary>The exit code if the datacenter could not be asked.</summary>
    public const int NotAsked = 2;

    public Option<Uri> Url { get; } = new("--url")
    {
        Description = "The gateway's address.",
        DefaultValueFactory = _ => new($"http://127.0.0.1:{SiloCommand.DefaultPort}"),
        CustomParser = result => Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" ? uri : Refused(result),
    };

    public Option<string?> Datacenter { get; } = new("--datacenter")
    {
        Description = "The datacenter's name. Default: Silo__Datacenter in the environment, else the only datacenter that the gateway serves.",
        DefaultValueFactory = _ => Environment.GetEnvironmentVariable("Silo__Datacenter"),
    };

    public Option<bool> Json { get; } = new("--json") { Description = "Print the report as JSON." };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { Url, Datacenter, Json }) command.Options.Add(option);
    }

    /// <returns>What <paramref name="run"/> returns, or <see cref="NotAsked"/>.</returns>
    public static async Task<int> Ask(Uri url, string? datacenter, TextWriter errors, Func<InstancesClient, Task<int>> run)
    {
        try
        {
            using var http = new HttpClient { BaseAddress = url, Timeout = Timeout.InfiniteTimeSpan };
            return await run(new InstancesClient(http, datacenter ??= await FindOnly(http)));
        }
        catch (Exception exception) when (exception is ProblemException or HttpRequestException or IOException or JsonException or OperationCanceledException)
        {
            await errors.WriteLineAsync($"{(datacenter is null ? "The datacenter" : $"The datacenter '{datacenter}'")} could not be asked at {url}: {exception.Message}");
            return NotAsked;
        }
    }

    /// <exception cref="IOException">The gateway serves several datacenters.</exception>
    private static async Task<string> FindOnly(HttpClient http)
    {
        using var bound = new CancellationTokenSource(ListBound);
        var served = await http.GetFromJsonAsync<DatacenterView[]>("api/v1/datacenters", InstancesJson.Options, bound.Token) ?? [];
        return served is [var only] ? only.Name : throw new IOException(
            $"this gateway serves {string.Join(", ", served.Select(view => view.Name))}. Name one of them with --datacenter.");
    }

    private static Uri? Refused(ArgumentResult result)
    {
        result.AddError("--url is an address such as http://127.0.0.1:8080.");
        return null;
    }
}

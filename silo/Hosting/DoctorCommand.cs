using System.CommandLine;
using System.Text.Json;
using Instances.Client;
using Instances.Doctor;

namespace Instances.Hosting;

/// <summary>Examines a datacenter through a gateway that runs.</summary>
internal static class DoctorCommand
{
    public const int Healthy = 0;
    public const int HasFindings = 1;
    public const int NotAsked = 2;

    public static Command Create()
    {
        var url = new Option<Uri>("--url")
        {
            Description = "The gateway's address.",
            DefaultValueFactory = _ => new($"http://127.0.0.1:{SiloCommand.DefaultPort}"),
            CustomParser = result => Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" ? uri : Refused(result),
        };
        var datacenter = new Option<string>("--datacenter") { Description = "The datacenter's name.", DefaultValueFactory = _ => "local" };
        var fix = new Option<bool>("--fix") { Description = "Repair what is safe to repair. No image and no virtual machine that is known is ever deleted." };
        var json = new Option<bool>("--json") { Description = "Print the report as JSON." };
        var command = new Command("doctor",
            "Looks whether everything in a datacenter has its owner and every owner has what it needs. Exit code 0: nothing is wrong; 1: there are findings that are not repaired; 2: it could not be asked.")
        {
            url, datacenter, fix, json,
        };
        command.SetAction((result, cancellationToken) => Run(
            result.GetRequiredValue(url), result.GetRequiredValue(datacenter), result.GetValue(fix), result.GetValue(json), Console.Out, Console.Error, cancellationToken));
        return command;

        static Uri? Refused(System.CommandLine.Parsing.ArgumentResult result)
        {
            result.AddError("--url is an address such as http://127.0.0.1:8080.");
            return null;
        }
    }

    /// <returns>The exit code. What is only good to know counts as no finding.</returns>
    internal static async Task<int> Run(Uri url, string datacenter, bool fix, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken)
    {
        DoctorReport report;
        try
        {
            using var http = new HttpClient { BaseAddress = url, Timeout = Timeout.InfiniteTimeSpan };
            report = await new InstancesClient(http, datacenter).Examine(fix, cancellationToken);
        }
        catch (Exception exception) when (exception is ProblemException or HttpRequestException or IOException or JsonException or OperationCanceledException)
        {
            await errors.WriteLineAsync($"The datacenter '{datacenter}' could not be asked at {url}: {exception.Message}");
            return NotAsked;
        }

        await output.WriteLineAsync(json ? JsonSerializer.Serialize(report, InstancesJson.Options) : Text(report));
        return report.MoreFindings > 0 || report.Findings.Any(finding => finding is { Fixed: false, Severity: not FindingSeverity.Info }) ? HasFindings : Healthy;
    }

    private static string Text(DoctorReport report)
    {
        var counts = report.Counts;
        var lines = report.Findings.Select(finding =>
            $"{finding.Severity.ToString().ToLowerInvariant(),-8} {finding.Code,-28} {finding.Message}{(finding.Fixed ? " Repaired." : finding.Fixable ? " --fix does it." : "")}").ToList();
        if (report.MoreFindings > 0) lines.Add($"… and {report.MoreFindings} more.");
        if (report.Findings.Count == 0) lines.Add("Nothing is wrong.");
        lines.Add(
            $"Looked at {counts.Hosts} hosts ({counts.HostsAway} away) with {counts.HostMachines} virtual machines and {counts.HostLayers} layers, a library of {counts.LibraryLayers} layers and "
            + $"{counts.Manifests} manifests, and the records of {counts.VirtualMachines} deployed virtual machines, {counts.Images} images, {counts.Appliances} busy appliances, "
            + $"{counts.Operations} running operations, {counts.Reservations} reservations and {counts.Reminders} reminders.");
        return string.Join(Environment.NewLine, lines);
    }
}

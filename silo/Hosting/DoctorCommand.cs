using System.CommandLine;
using System.Text.Json;
using Instances.Doctor;

namespace Instances.Hosting;

/// <summary>Examines a datacenter through a running gateway.</summary>
internal static class DoctorCommand
{
    public const int Healthy = 0;
    public const int HasFindings = 1;

    public static Command Create()
    {
        var gateway = new GatewayOptions();
        var fix = new Option<bool>("--fix") { Description = "Repair what is safe to repair. Never deletes an image, or a virtual machine that has a record." };
        var command = new Command("doctor",
            "Checks that everything in a datacenter has an owner, and that every owner has what it needs. Exit code 0: nothing is wrong; 1: there are findings that are not repaired; 2: the datacenter could not be asked.")
        {
            fix,
        };
        gateway.AddTo(command);
        command.SetAction((result, cancellationToken) => Run(
            result.GetRequiredValue(gateway.Url), result.GetValue(gateway.Datacenter), result.GetValue(fix), result.GetValue(gateway.Json), Console.Out, Console.Error, cancellationToken));
        return command;
    }

    /// <returns>The exit code. Findings with the severity Info do not count.</returns>
    internal static Task<int> Run(Uri url, string? datacenter, bool fix, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
        GatewayOptions.Ask(url, datacenter, errors, async client =>
        {
            var report = await client.Examine(fix, cancellationToken);
            await output.WriteLineAsync(json ? JsonSerializer.Serialize(report, InstancesJson.Options) : Text(report));
            return report.MoreFindings > 0 || report.Findings.Any(finding => finding is { Fixed: false, Severity: not FindingSeverity.Info }) ? HasFindings : Healthy;
        });

    private static string Text(DoctorReport report)
    {
        var counts = report.Counts;
        var lines = report.Findings.Select(finding =>
            $"{finding.Severity.ToString().ToLowerInvariant(),-8} {finding.Code,-28} {finding.Message}{(finding.Fixed ? " Repaired." : finding.Fixable ? " --fix repairs it." : "")}").ToList();
        if (report.MoreFindings > 0) lines.Add($"… and {report.MoreFindings} more.");
        if (report.Findings.Count == 0) lines.Add("Nothing is wrong.");
        lines.Add(
            $"Examined {counts.Hosts} hosts ({counts.HostsAway} unreachable) with {counts.HostMachines} virtual machines and {counts.HostLayers} layers, a library of {counts.LibraryLayers} layers and "
            + $"{counts.Manifests} manifests, and the records of {counts.VirtualMachines} deployed virtual machines, {counts.Images} images, {counts.Appliances} busy appliances, "
            + $"{counts.Operations} running operations, {counts.Reservations} reservations and {counts.Reminders} reminders.");
        return string.Join(Environment.NewLine, lines);
    }
}

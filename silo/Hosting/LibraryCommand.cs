using System.CommandLine;
using System.Text.Json;
using Instances.Client;
using Instances.Library;

namespace Instances.Hosting;

/// <summary>Verifies or rebuilds the library of a running datacenter.</summary>
internal static class LibraryCommand
{
    public const int Sound = 0;
    public const int HasCorrupt = 1;
    public const int Rebuilt = 0;
    public const int HasLeftOut = 1;

    private static readonly TimeSpan LookPeriod = TimeSpan.FromMilliseconds(200);

    public static Command Create()
    {
        var gateway = new GatewayOptions();
        var verify = new Command("verify",
            "Reads every layer of the library, and waits until that is done. Exit code 0: all are sound; 1: some are corrupt; 2: the datacenter could not be asked. "
            + "Ending this command does not end the reading.");
        gateway.AddTo(verify);
        verify.SetAction((result, cancellationToken) => Verify(
            result.GetRequiredValue(gateway.Url), result.GetValue(gateway.Datacenter), result.GetValue(gateway.Json), Console.Out, Console.Error, cancellationToken));
        return new Command("library", "Verifies or rebuilds the appliance library of a datacenter.") { verify, CreateRebuild() };
    }

    private static Command CreateRebuild()
    {
        var gateway = new GatewayOptions();
        var dryRun = new Option<bool>("--dry-run") { Description = "Change nothing: only show what would be done." };
        var rebuild = new Command("rebuild",
            "After a loss of the database: creates a record for every image of the library's files, and waits until that is done. Existing records are not changed. "
            + "It can be run at any time, also while the datacenter works. Deleted images that are still in their grace period are restored too. "
            + "Before it has run, nothing is removed from a library that the database does not know. Exit code 0: every image has its record; 1: some were left out; 2: the datacenter could not be asked. "
            + "Ending this command does not end the rebuild.")
        {
            dryRun,
        };
        gateway.AddTo(rebuild);
        rebuild.SetAction((result, cancellationToken) => Rebuild(
            result.GetRequiredValue(gateway.Url), result.GetValue(gateway.Datacenter), result.GetValue(dryRun), result.GetValue(gateway.Json), Console.Out, Console.Error,
            cancellationToken));
        return rebuild;
    }

    /// <returns>The exit code.</returns>
    internal static Task<int> Rebuild(Uri url, string? datacenter, bool dryRun, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
        GatewayOptions.Ask(url, datacenter, errors, async client =>
        {
            var begun = await client.RebuildLibrary(dryRun, cancellationToken);
            var rebuild = begun;
            for (var shown = ""; rebuild.FinishedAt is null; rebuild = await GetRebuild(client, begun, cancellationToken))
            {
                if (Progress(rebuild) is var progress && progress != shown) await errors.WriteLineAsync(shown = progress);
                await Task.Delay(LookPeriod, cancellationToken);
            }

            await output.WriteLineAsync(json ? JsonSerializer.Serialize(rebuild, InstancesJson.Options) : Text(rebuild));
            return rebuild.LeftOut > 0 ? HasLeftOut : Rebuilt;
        });

    /// <exception cref="IOException">The current rebuild is another one: it was started since, or the silo ended before it stored this one.</exception>
    private static async Task<LibraryRebuild> GetRebuild(InstancesClient client, LibraryRebuild begun, CancellationToken cancellationToken)
    {
        var rebuild = await client.GetLibraryRebuild(cancellationToken);
        return rebuild.StartedAt == begun.StartedAt && rebuild.DryRun == begun.DryRun
            ? rebuild
            : throw new IOException("Another rebuild was started, and the result of this one is not known: run this command again.");
    }

    private static string Progress(LibraryRebuild rebuild) =>
        $"{rebuild.Done} of {rebuild.Manifests} manifests examined{(rebuild.Problem is { } problem ? $". It makes no progress at the moment: {problem}" : "")}";

    private static string Text(LibraryRebuild rebuild)
    {
        var lines = rebuild.Remarks.Select(remark => $"{remark.Code,-20} {remark.Image} {(remark.Name is { } name ? $"'{name}'" : "(its name cannot be read)")}: {remark.Message}").ToList();
        lines.Add(
            $"{rebuild.Manifests} manifests: {rebuild.Rebuilt} images {(rebuild.DryRun ? "would get records" : "got records")}, {rebuild.Known} have a record, {rebuild.LeftOut} were left out.");
        if (!rebuild.DryRun) lines.Add("Appliances, virtual machines, operations, and enterprises with their quotas are not in the library's files. Run 'silo doctor' to find what else has no owner.");
        return string.Join(Environment.NewLine, lines);
    }

    /// <returns>The exit code.</returns>
    internal static Task<int> Verify(Uri url, string? datacenter, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
        GatewayOptions.Ask(url, datacenter, errors, async client =>
        {
            var begun = await client.VerifyLibrary(cancellationToken);
            var health = begun;
            for (var shown = -1; !health.IsDone; health = await client.GetLibraryHealth(cancellationToken))
            {
                if (shown != health.LayersRead) await errors.WriteLineAsync(Progress(health));
                shown = health.LayersRead;
                await Task.Delay(LookPeriod, cancellationToken);
            }

            await output.WriteLineAsync(json ? JsonSerializer.Serialize(health, InstancesJson.Options) : Text(health));
            return health.Corrupt.Count > 0 ? HasCorrupt : Sound;
        });

    private static string Progress(LibraryHealth health) =>
        $"{health.LayersRead} of {health.Layers} layers read ({health.BytesRead.Bytes()} of {health.Bytes.Bytes()}, at most {health.BytesPerSecond.Bytes()} a second)";

    private static string Text(LibraryHealth health)
    {
        var lines = health.Corrupt.Select(layer =>
            $"corrupt  {layer.Layer}: its SHA-256 should be {layer.Expected ?? "(never read)"} and is {layer.Found}. Images: {string.Join(", ", layer.Images)}. "
            + (layer.HealingFrom is { } from ? $"A copy of it is being fetched from {from}. " : "") + "It is repaired when a host, or a datacenter of Library:Peers, has a good copy. Otherwise restore the file from a backup.").ToList();
        if (health.LastHealing is { } healing) lines.Add($"The last repaired layer is {healing.Layer}, at {healing.At:u}, with the copy of {healing.From}.");
        lines.Add($"{health.Layers} layers ({health.Bytes.Bytes()}) read: {(health.Corrupt.Count == 0 ? "all are sound" : $"{health.Corrupt.Count} are corrupt")}.");
        return string.Join(Environment.NewLine, lines);
    }
}

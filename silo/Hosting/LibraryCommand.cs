using System.CommandLine;
using System.Text.Json;
using Instances.Client;
using Instances.Library;

namespace Instances.Hosting;

/// <summary>Looks after the library of a datacenter that runs.</summary>
internal static class LibraryCommand
{
    public const int Sound = 0;
    public const int HasCorrupt = 1;

    private static readonly TimeSpan LookPeriod = TimeSpan.FromSeconds(1);

    public static Command Create()
    {
        var gateway = new GatewayOptions();
        var verify = new Command("verify",
            "Has every layer of the library read, and waits until that is done. Exit code 0: all are sound; 1: some are corrupt; 2: it could not be asked. "
            + "Ending this command does not end the reading.");
        gateway.AddTo(verify);
        verify.SetAction((result, cancellationToken) => Verify(
            result.GetRequiredValue(gateway.Url), result.GetRequiredValue(gateway.Datacenter), result.GetValue(gateway.Json), Console.Out, Console.Error, cancellationToken));
        return new Command("library", "Looks after the appliance library of a datacenter.") { verify };
    }

    /// <returns>The exit code.</returns>
    internal static Task<int> Verify(Uri url, string datacenter, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
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
            $"corrupt  {layer.Layer}: its SHA-256 has to be {layer.Expected ?? "(never read)"} and is {layer.Found}. Images: {string.Join(", ", layer.Images)}. "
            + "It is put right when a host that has a good copy is there; else restore the file from a backup.").ToList();
        lines.Add($"{health.Layers} layers ({health.Bytes.Bytes()}) read: {(health.Corrupt.Count == 0 ? "all are sound" : $"{health.Corrupt.Count} are corrupt")}.");
        return string.Join(Environment.NewLine, lines);
    }
}

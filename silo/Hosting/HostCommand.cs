using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json;
using Instances.Client;
using Instances.Hosts;

namespace Instances.Hosting;

/// <summary>Adopts or discards machines of a host that have no record there.</summary>
internal static class HostCommand
{
    public const int Done = 0;
    public const int HasLeftOut = 1;

    private static readonly TimeSpan LookPeriod = TimeSpan.FromMilliseconds(200);

    public static Command Create(Option<string> data)
    {
        return new Command("host", "Adopts or discards virtual machines of a host that the database does not know, and shuts guests down before their host.")
        {
            CreateAdopt(), CreateDiscard(), ShutdownGuestsCommand.Create(data),
        };
    }

    private static Command CreateAdopt()
    {
        var (gateway, host, dryRun) = (new GatewayOptions(), HostArgument(), DryRun());
        var adopt = new Command("adopt",
            "Creates the missing records of a host's virtual machines from the host's own files: appliances, virtual machines and deployments. The machines keep running. "
            + "After a loss of the database run 'silo library rebuild' first. It can be run again at any time. Exit code 0: every machine has its record; 1: some were left out; 2: the host could not be asked.")
        {
            host, dryRun,
        };
        gateway.AddTo(adopt);
        adopt.SetAction((result, cancellationToken) => Adopt(
            result.GetRequiredValue(gateway.Url), result.GetValue(gateway.Datacenter), result.GetRequiredValue(host), result.GetValue(dryRun), result.GetValue(gateway.Json), Console.Out, Console.Error,
            cancellationToken));
        return adopt;
    }

    private static Command CreateDiscard()
    {
        var (gateway, host, dryRun) = (new GatewayOptions(), HostArgument(), DryRun());
        var yes = new Option<bool>("--yes") { Description = "Remove the listed virtual machines without asking." };
        var discard = new Command("discard",
            "Lists the virtual machines of a host that have no record there, asks, and removes them. Their changes that were not captured are lost. "
            + "Exit code 0: none is left; 1: some were left out, or nothing was removed; 2: the host could not be asked.")
        {
            host, dryRun, yes,
        };
        gateway.AddTo(discard);
        discard.SetAction((result, cancellationToken) => Discard(
            result.GetRequiredValue(gateway.Url), result.GetValue(gateway.Datacenter), result.GetRequiredValue(host), result.GetValue(dryRun),
            () => result.GetValue(yes) || IsConfirmed(result.GetRequiredValue(host)), result.GetValue(gateway.Json), Console.Out, Console.Error, cancellationToken));
        return discard;
    }

    /// <returns>The exit code.</returns>
    internal static Task<int> Adopt(Uri url, string? datacenter, HostId host, bool dryRun, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
        GatewayOptions.Ask(url, datacenter, errors, async client =>
        {
            var recovery = await Wait(client, await client.AdoptHost(host, dryRun, cancellationToken), errors, cancellationToken);
            await Print(recovery, json, output);
            return CodeOf(recovery);
        });

    /// <param name="isConfirmed">Asks the operator. It is called after the machines were listed.</param>
    /// <returns>The exit code.</returns>
    internal static Task<int> Discard(
        Uri url, string? datacenter, HostId host, bool dryRun, Func<bool> isConfirmed, bool json, TextWriter output, TextWriter errors, CancellationToken cancellationToken) =>
        GatewayOptions.Ask(url, datacenter, errors, async client =>
        {
            var seen = await Wait(client, await client.DiscardMachines(host, dryRun: true, [], cancellationToken), errors, cancellationToken);
            var given = seen.Machines.Where(machine => machine.Outcome is RecoveryOutcome.Discarded).ToList();
            if (dryRun || seen.Problem is not null)
            {
                await Print(seen, json, output);
                return CodeOf(seen);
            }

            if (given.Count > 0)
            {
                await errors.WriteLineAsync($"These {given.Count} virtual machines will be removed from the host {host}. Their changes that were not captured will be lost:");
                foreach (var machine in given) await errors.WriteLineAsync($"  {Name(machine)}");
                if (!isConfirmed())
                {
                    await errors.WriteLineAsync("Nothing was removed. Use --yes to remove them without a question.");
                    return HasLeftOut;
                }
            }

            var recovery = await Wait(client, await client.DiscardMachines(host, dryRun: false, [.. given.Select(machine => machine.Id)], cancellationToken), errors, cancellationToken);
            await Print(recovery, json, output);
            return CodeOf(recovery);
        });

    private static bool IsConfirmed(HostId host)
    {
        if (Console.IsInputRedirected) return false;
        Console.Error.Write($"Type the name of the host ({host}) to remove them: ");
        return Console.In.ReadLine()?.Trim() == host.Name;
    }

    /// <exception cref="IOException">The host's silo was restarted meanwhile, or another recovery was started.</exception>
    private static async Task<HostRecovery> Wait(InstancesClient client, HostRecovery begun, TextWriter errors, CancellationToken cancellationToken)
    {
        var recovery = begun;
        for (var shown = ""; recovery.FinishedAt is null;)
        {
            var progress = $"{recovery.Machines.Count(machine => machine.Outcome is not RecoveryOutcome.Waiting)} of {recovery.Machines.Count} virtual machines examined";
            if (progress != shown) await errors.WriteLineAsync(shown = progress);
            await Task.Delay(LookPeriod, cancellationToken);
            recovery = await client.GetHostRecovery(begun.Host, cancellationToken);
            if (recovery.StartedAt != begun.StartedAt) throw new IOException("Another recovery was started, and the result of this one is not known: run this command again.");
        }

        return recovery;
    }

    private static async Task Print(HostRecovery recovery, bool json, TextWriter output) =>
        await output.WriteLineAsync(json ? JsonSerializer.Serialize(recovery, InstancesJson.Options) : Text(recovery));

    private static int CodeOf(HostRecovery recovery) => recovery.Problem is not null || recovery.Machines.Any(machine => machine.Outcome is RecoveryOutcome.LeftOut) ? HasLeftOut : Done;

    private static string Text(HostRecovery recovery)
    {
        var lines = recovery.Machines.Where(machine => machine.Outcome is not RecoveryOutcome.Known)
            .Select(machine => $"{Word(machine.Outcome),-10} {Name(machine)}{(machine.Message is { } message ? $": {message}" : "")}").ToList();
        var done = recovery.Machines.Count(machine => machine.Outcome is RecoveryOutcome.Adopted or RecoveryOutcome.Discarded);
        var verb = (recovery.Kind, recovery.DryRun) switch
        {
            (RecoveryKind.Adopt, false) => "got records",
            (RecoveryKind.Adopt, true) => "would get records",
            (RecoveryKind.Discard, false) => "were removed",
            (RecoveryKind.Discard, true) => "would be removed",
        };
        lines.Add($"Host {recovery.Host}: {done} virtual machines {verb}, {Count(RecoveryOutcome.Known)} have a record, {Count(RecoveryOutcome.LeftOut)} were left out.");
        if (recovery.Problem is { } problem) lines.Add($"It did not finish: {problem} Run the command again.");
        return string.Join(Environment.NewLine, lines);

        int Count(RecoveryOutcome outcome) => recovery.Machines.Count(machine => machine.Outcome == outcome);
    }

    private static string Word(RecoveryOutcome outcome) => outcome switch
    {
        RecoveryOutcome.Waiting => "waiting",
        RecoveryOutcome.Known => "known",
        RecoveryOutcome.Adopted => "adopted",
        RecoveryOutcome.Discarded => "discarded",
        RecoveryOutcome.LeftOut => "left out",
    };

    private static string Name(RecoveredMachine machine) => machine.Name is null ? $"{machine.Id}" : $"{machine.ApplianceName ?? $"{machine.Appliance}"}/{machine.Name} ({machine.Id})";

    private static Argument<HostId> HostArgument() => new("host")
    {
        Description = "The host's name.",
        CustomParser = result => HostId.TryParse(result.Tokens[0].Value, null, out var host) ? host : Refused(result),
    };

    private static HostId Refused(ArgumentResult result)
    {
        result.AddError("The host's name has 1 to 63 letters, digits and hyphens.");
        return default;
    }

    private static Option<bool> DryRun() => new("--dry-run") { Description = "Change nothing: only show what would be done." };
}

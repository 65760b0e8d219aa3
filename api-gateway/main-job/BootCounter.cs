using System.Globalization;
using System.Text.RegularExpressions;
using Instances.Client;
using Instances.VirtualMachines;

namespace Instances.MainJob;

/// <summary>Reads from a guest's serial console how often it has started.</summary>
internal sealed partial class BootCounter(InstancesClient client)
{
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>Waits until the guest has printed the expected number. A higher number, or none in time, fails the job.</summary>
    public async Task Expect(VirtualMachineView machine, int expected, Action<string> show, CancellationToken cancellationToken)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var console = await client.ReadConsole(machine.Id, cancellationToken);
            var found = Last(console);
            if (found == expected) return;
            if (found > expected || TimeProvider.System.GetElapsedTime(started) > Bound)
                throw new ExpectationException($"The console of {machine.Name}", $"boots={expected}", found is null ? "no boots=N" : $"boots={found}");
            show($"{machine.Name}: waiting for its console");
            await Task.Delay(Interval, cancellationToken);
        }
    }

    private static int? Last(string console) =>
        BootsPattern().Matches(console) is { Count: > 0 } matches ? int.Parse(matches[^1].Groups[1].ValueSpan, CultureInfo.InvariantCulture) : null;

    /// <summary>Only complete lines: the last digits may still be missing.</summary>
    [GeneratedRegex(@"boots=([0-9]{1,6})\r?\n")]
    private static partial Regex BootsPattern();
}

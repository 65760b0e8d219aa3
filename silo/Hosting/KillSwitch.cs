using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Options;

namespace Instances.Hosting;

/// <summary>Kills this process (SIGKILL) at the place that a test writes into a file, as <c>point</c> or <c>point:nth</c>. The file is deleted before, so that the next process is not killed.</summary>
internal sealed class KillSwitch(string file)
{
    public const string EnvironmentName = "Testing";

    private readonly Dictionary<string, int> _reached = [];
    private readonly Lock _lock = new();

    public void Reach(string point)
    {
        if (!KillPoints.All.Contains(point)) throw new InvalidOperationException($"KillPoints.All does not have '{point}'.");
        lock (_lock)
        {
            if (Wanted() is not var (wanted, nth) || wanted != point) return;
            var times = _reached[point] = _reached.GetValueOrDefault(point) + 1;
            if (times < nth) return;
            File.Delete(file);
            Process.GetCurrentProcess().Kill();
        }
    }

    private (string Point, int Nth)? Wanted()
    {
        try
        {
            var parts = File.ReadAllText(file).Trim().Split(':');
            return (parts[0], parts.Length > 1 ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 1);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }
}

internal static class KillSwitchServices
{
    /// <exception cref="OptionsValidationException">Testing:KillFile is set in a process that is not a test's.</exception>
    public static void AddKillSwitch(this WebApplicationBuilder builder)
    {
        if (builder.Configuration["Testing:KillFile"] is not { } file) return;
        if (!builder.Environment.IsEnvironment(KillSwitch.EnvironmentName))
        {
            throw new OptionsValidationException("Testing", typeof(KillSwitch), [
                $"Testing:KillFile kills this process, and is for tests: it needs the environment {KillSwitch.EnvironmentName}, and this is {builder.Environment.EnvironmentName}."]);
        }

        KillPoints.TurnOn(new KillSwitch(file).Reach);
    }
}

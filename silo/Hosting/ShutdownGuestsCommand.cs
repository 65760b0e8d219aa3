using System.CommandLine;
using Instances.Qemu;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

/// <summary>Shuts the guests of this host down while its silo is stopped.</summary>
internal static class ShutdownGuestsCommand
{
    public static Command Create(Option<string> data)
    {
        var shutdown = new Command(
            "shutdown-guests",
            "Presses the power buttons of all guests of this host and waits until they have shut down, for a planned shutdown of the host. Machines whose guests do not shut down within "
            + "Host:GuestShutdownBound are powered off. Stop the silo first; it starts these machines again when it is started. Exit code 0: all have ended; 1: some have not.")
        {
            data,
        };
        shutdown.SetAction((result, cancellationToken) => ShutDownGuests(Path.GetFullPath(result.GetRequiredValue(data)), cancellationToken));
        return shutdown;
    }

    private static async Task<int> ShutDownGuests(string dataFolder, CancellationToken cancellationToken)
    {
        var configuration = new ConfigurationBuilder().AddEnvironmentVariables().Build();
        var qemu = new QemuOptions { RunFolder = Path.Combine(dataFolder, "machines") };
        configuration.GetSection(QemuOptions.Section).Bind(qemu);
        var bound = (configuration.GetSection("Host").Get<HostOptions>() ?? new()).GuestShutdownBound;
        return await new GuestShutdown(qemu, TimeProvider.System, Console.Out).Run(bound, cancellationToken) ? 0 : 1;
    }
}

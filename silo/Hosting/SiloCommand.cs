using System.CommandLine;

namespace Instances.Hosting;

/// <summary>The options of the command line. Everything else is configuration.</summary>
/// <param name="Rest">Configuration as <c>--Section:Key=value</c>.</param>
internal sealed record SiloArguments(string DataFolder, int Port, string[] Rest);

internal static class SiloCommand
{
    public const int DefaultPort = 8080;

    /// <returns>The exit code.</returns>
    public static int Parse(string[] args, Func<SiloArguments, int> run)
    {
        var data = new Option<string>("--data")
        {
            Description = "The folder that holds the database, the layers and the machines. It is created if it is missing.",
            DefaultValueFactory = _ => "./data",
        };
        var port = new Option<int>("--port")
        {
            Description = "The TCP port of the HTTP interface on 127.0.0.1, or on Silo:Address if that is set; 0 takes a free one.",
            DefaultValueFactory = _ => DefaultPort,
        };
        port.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 0 or > 65535) result.AddError("--port is 0 to 65535.");
        });
        var rest = new Argument<string[]>("configuration")
        {
            Description = "More configuration as --Section:Key=value, such as --Library:GracePeriod=1.00:00:00. docs/configuration.md lists all options.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var command = new RootCommand("Runs a silo: by default a datacenter of one host, with the HTTP interface, all in one process. With Silo:Roles it has only some of the roles, as one of several silos.") { data, port, rest };
        command.Subcommands.Add(DoctorCommand.Create());
        command.Subcommands.Add(LibraryCommand.Create());
        command.Subcommands.Add(HostCommand.Create(data));
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(result => run(new(
            Path.GetFullPath(result.GetRequiredValue(data)), result.GetValue(port), [.. result.GetValue(rest) ?? [], .. result.UnmatchedTokens])));
        return command.Parse(args).Invoke();
    }
}

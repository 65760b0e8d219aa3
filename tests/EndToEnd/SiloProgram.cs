using System.Diagnostics;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Runs the silo's commands, such as doctor, as separate processes.</summary>
internal static class SiloProgram
{
    public static async Task<(int Code, string Output)> Run(params string[] arguments)
    {
        var stop = TestContext.Current.CancellationToken;
        using var process = Process.Start(new ProcessStartInfo(
            "dotnet", [Path.Combine(Repository.Root, "silo", "bin", Repository.Configuration, "net10.0", "Instances.Silo.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(stop), process.StandardError.ReadToEndAsync(stop));
        await process.WaitForExitAsync(stop);
        return (process.ExitCode, await output + await errors);
    }

    /// <summary>A command in this process, which is quicker. Each command also runs as a program in some test.</summary>
    /// <param name="command">Gets the writers of output and errors, and returns the exit code.</param>
    public static async Task<(int Code, string Output)> RunHere(Func<TextWriter, TextWriter, Task<int>> command)
    {
        await using var said = new StringWriter();
        return (await command(said, said), said.ToString());
    }
}

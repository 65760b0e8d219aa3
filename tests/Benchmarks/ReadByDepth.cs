using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Compares reads through a chain, by its depth, with reads of its base: 4 KiB at a time, spread over a disk of 1 GiB in memory.</summary>
internal static partial class ReadByDepth
{
    private const int Rounds = 3;
    private static readonly int[] Depths = [1, 3, 5, 9, 17, 33, 65];

    public static async Task Measure(Table table)
    {
        var folder = Directory.CreateTempSubdirectory("instances-depth-").FullName;
        try
        {
            var random = new Random(1);
            for (var depth = 1; depth <= Depths[^1]; depth++)
            {
                string[] over = depth == 1 ? [] : ["-u", "-b", $"{depth - 1}.qcow2", "-F", "qcow2"];
                await Run("qemu-img", ["create", "-q", "-f", "qcow2", .. over, "-o", "cluster_size=64k,extended_l2=on", PathOf(depth), "1G"]);
                var write = depth == 1 ? "write -P 1 0 1G" : string.Create(CultureInfo.InvariantCulture, $"write -P {depth} {random.Next(1023)}M 256k");
                await Run("qemu-io", ["-f", "qcow2", "-c", write, PathOf(depth)]);
            }

            var seconds = Depths.ToDictionary(depth => depth, _ => double.MaxValue);
            for (var round = 0; round < Rounds; round++)
            {
                foreach (var depth in Depths) seconds[depth] = Math.Min(seconds[depth], await Read(depth));
            }

            foreach (var depth in Depths.Skip(1))
            {
                table.AddRow(
                    $"reads through {depth} layers, shortest of {Rounds}",
                    string.Create(CultureInfo.InvariantCulture, $"{seconds[depth] * 1000:0} ms"),
                    string.Create(CultureInfo.InvariantCulture, $"through one: {seconds[1] * 1000:0} ms"),
                    string.Create(CultureInfo.InvariantCulture, $"{seconds[depth] / seconds[1]:0.00} times"));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        string PathOf(int depth) => Path.Combine(folder, $"{depth}.qcow2");

        async Task<double> Read(int depth) => double.Parse(
            SecondsPattern().Match(await Run("qemu-img", ["bench", "-f", "qcow2", "-c", "20000", "-d", "1", "-s", "4096", "-S", "53248", PathOf(depth)])).Groups[1].Value,
            CultureInfo.InvariantCulture);
    }

    private static async Task<string> Run(string program, IEnumerable<string> arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} has failed ({process.ExitCode}).");
    }

    [GeneratedRegex(@"completed in ([0-9.]+) seconds")]
    private static partial Regex SecondsPattern();
}

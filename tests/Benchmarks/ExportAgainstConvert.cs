using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Instances.Library;
using Instances.Library.Export;
using Instances.VirtualMachines;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Compares the time to create and hash an export, without output and to a file with a sync, with <c>qemu-img convert</c> of the same chain to the same format to a file with a sync.</summary>
internal static class ExportAgainstConvert
{
    private const int Rounds = 5;

    public static async Task Measure(Table table, int mebibytes)
    {
        var folder = Directory.CreateTempSubdirectory("instances-export-").FullName;
        try
        {
            var chain = await Make(folder, mebibytes);
            var top = PathOf(chain.Layers[^1]);
            var target = Path.Combine(folder, "target");
            var (sent, exports, converts) = (new List<double>(), new List<double>(), new List<double>());
            for (var round = 0; round < Rounds; round++)
            {
                // Alternate the order, because the second one finds a warm cache.
                if (round % 2 == 0) converts.Add(await Time(Convert));
                sent.Add(await Time(() => Export(Stream.Null)));
                exports.Add(await Time(ExportToFile));
                if (round % 2 != 0) converts.Add(await Time(Convert));
            }

            AddRow("made and hashed", sent);
            AddRow("made, hashed, written to a file, and sync", exports);

            void AddRow(string what, List<double> times) => table.AddRow(
                $"export of {mebibytes} MiB of data on a disk of twice that, in 2 layers, as qcow2: {what}, middle of {Rounds}",
                $"{Middle(times):0} ms",
                $"qemu-img convert -O qcow2, and sync: {Middle(converts):0} ms",
                string.Create(CultureInfo.InvariantCulture, $"{Middle(times) / Middle(converts):0.00} times"));

            Task Convert() => Run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", "-t", "writeback", top, target);

            async Task ExportToFile()
            {
                await using var stream = new FileStream(target, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
                await Export(stream);
            }

            async Task Export(Stream to)
            {
                using var file = DiskFile.Of(LayeredDisk.Open(chain, PathOf), ExportFormat.Qcow2, Guid.Empty, default);
                await using var hashed = new DigestStream(to);
                await file.Write(hashed, default);
                hashed.Digest();
            }

            async Task<double> Time(Func<Task> work)
            {
                var clock = Stopwatch.StartNew();
                await work();
                if (File.Exists(target)) UnixFiles.SyncFile(target);
                var time = clock.Elapsed.TotalMilliseconds;
                File.Delete(target);
                return time;
            }

            string PathOf(LayerId layer) => Path.Combine(folder, $"{layer}.qcow2");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A base with data, and changes of a tenth of it scattered over the layer above.</summary>
    private static async Task<DiskChain> Make(string folder, int mebibytes)
    {
        var (lower, upper) = (LayerId.New(), LayerId.New());
        var raw = Path.Combine(folder, "raw");
        await using (var file = File.Create(raw))
        {
            for (var chunk = 0; chunk < mebibytes; chunk++)
            {
                file.Position = (2L * chunk) << 20;
                await file.WriteAsync(RandomNumberGenerator.GetBytes(1 << 20));
            }

            file.SetLength((2L * mebibytes) << 20);
        }

        await Run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=64k", raw, Path.Combine(folder, $"{lower}.qcow2"));
        File.Delete(raw);
        var top = Path.Combine(folder, $"{upper}.qcow2");
        await Run("qemu-img", "create", "-q", "-f", "qcow2", "-b", $"{lower}.qcow2", "-F", "qcow2", "-o", "cluster_size=64k,extended_l2=on", top);
        var writes = Enumerable.Range(0, mebibytes / 10).SelectMany(index => (string[])["-c", $"write -q -P 7 {(20L * index) + 3}M 1M"]);
        await Run("qemu-io", ["-f", "qcow2", .. writes, top]);
        await Run("sync");
        return new([lower, upper], (2L * mebibytes) << 20);
    }

    private static double Middle(List<double> times) => times.Order().ElementAt(times.Count / 2);

    private static async Task Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} failed.");
    }
}

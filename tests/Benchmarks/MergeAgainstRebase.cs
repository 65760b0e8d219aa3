using System.Diagnostics;
using System.Globalization;
using Instances.Library;
using Instances.Library.Export;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Compares the time to merge eight layers, including the comparison of the result, with <c>qemu-img rebase</c>, which reads the chain and compares nothing. Over a base with 2 GiB of data on a disk of 4 GiB, each layer with writes of 4 to
/// 64 KiB all over it; all in memory, each with a sync.</summary>
internal static class MergeAgainstRebase
{
    private const int Rounds = 3;
    private const int Layers = 8;
    private const long BaseMebibytes = 4096;

    public static async Task Measure(Table table, int mebibytes)
    {
        var folder = Directory.CreateTempSubdirectory("instances-merge-").FullName;
        try
        {
            var chain = await Make(folder, mebibytes);
            var target = Path.Combine(folder, "target");
            var (merges, rebases, bytes) = (new List<double>(), new List<double>(), (Merge: 0L, Rebase: 0L));
            for (var round = 0; round < Rounds; round++)
            {
                rebases.Add(await Time(Rebase));
                bytes.Rebase = Size();
                merges.Add(await Time(Merge));
                bytes.Merge = Size();
            }

            table.AddRow(
                $"merge of {Layers} layers with {mebibytes} MiB of small writes, and comparison, shortest of {Rounds}",
                $"{merges.Min():0} ms, {bytes.Merge >> 20} MiB",
                $"qemu-img rebase, and sync: {rebases.Min():0} ms, {bytes.Rebase >> 20} MiB",
                string.Create(CultureInfo.InvariantCulture, $"{merges.Min() / rebases.Min():0.00} times"));

            async Task Merge()
            {
                using var parts = LayeredDisk.OpenLayers([.. chain.Skip(1)], PathOf);
                await MergedLayerFile.Write(parts, parts.VirtualSizeBytes, target, $"{chain[0]}.qcow2", Pace.Unlimited, () => { }, default);
                using var merged = LayeredDisk.OpenLayers([chain[^1]], _ => target);
                if (!await LayerComparison.IsMerged(parts, merged, parts.VirtualSizeBytes, Pace.Unlimited, default)) throw new InvalidOperationException("The merged layer is another one.");
            }

            async Task Rebase()
            {
                await Run("qemu-img", "create", "-q", "-f", "qcow2", "-b", PathOf(chain[^1]), "-F", "qcow2", "-o", "cluster_size=64k,extended_l2=on", target);
                await Run("qemu-img", "rebase", "-q", "-f", "qcow2", "-b", PathOf(chain[0]), "-F", "qcow2", target);
            }

            async Task<double> Time(Func<Task> work)
            {
                File.Delete(target);
                var clock = Stopwatch.StartNew();
                await work();
                UnixFiles.SyncFile(target);
                return clock.Elapsed.TotalMilliseconds;
            }

            long Size() => UnixFiles.AllocatedBytes(target);

            string PathOf(LayerId layer) => Path.Combine(folder, $"{layer}.qcow2");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<IReadOnlyList<LayerId>> Make(string folder, int mebibytes)
    {
        var random = new Random(1);
        List<LayerId> chain = [];
        for (var layer = 0; layer <= Layers; layer++)
        {
            var id = LayerId.New();
            var path = Path.Combine(folder, $"{id}.qcow2");
            string[] over = layer == 0 ? [] : ["-b", Path.Combine(folder, $"{chain[^1]}.qcow2"), "-F", "qcow2"];
            await Run("qemu-img", ["create", "-q", "-f", "qcow2", .. over, "-o", "cluster_size=64k,extended_l2=on", path, $"{BaseMebibytes}M"]);
            await Run("qemu-io", ["-f", "qcow2", .. (layer == 0 ? ["write -q -P 1 0 1024M", "write -q -P 1 1024M 1024M"] : Writes()).SelectMany(write => (string[])["-c", write]), path]);
            chain.Add(id);
        }

        await Run("sync");
        return chain;

        IEnumerable<string> Writes()
        {
            for (long left = ((long)mebibytes << 20) / Layers, length; left > 0; left -= length)
            {
                length = 4096L * random.Next(1, 17);
                yield return string.Create(CultureInfo.InvariantCulture, $"write -q -P {random.Next(1, 256)} {random.NextInt64((BaseMebibytes << 8) - 16) * 4096} {length}");
            }
        }
    }

    private static async Task Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{program} failed.");
    }
}

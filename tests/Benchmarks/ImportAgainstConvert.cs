using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Instances.Library;
using Instances.Library.Import;
using Instances.Library.Transfer;
using Instances.Operations;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Compares the time to check, convert and publish an upload with <c>qemu-img convert</c> of the same file with the same options and a sync.</summary>
internal static class ImportAgainstConvert
{
    private const int Rounds = 5;
    private const double Goal = 1.3;

    public static async Task Measure(Table table, int mebibytes)
    {
        var folder = Directory.CreateTempSubdirectory("instances-import-").FullName;
        try
        {
            File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
            var image = Path.Combine(folder, "image.qcow2");
            await Make(image, mebibytes);
            var (imports, converts) = (new List<double>(), new List<double>());
            for (var round = 0; round < Rounds; round++)
            {
                // Alternate the order, because the second one finds a warm cache.
                await (round % 2 == 0 ? Convert() : Import());
                await (round % 2 == 0 ? Import() : Convert());
            }

            async Task Convert() => converts.Add(await Measure(image, Path.Combine(folder, "library"), Rewrite));
            async Task Import() => imports.Add(await Measure(image, Path.Combine(folder, "library"), (_, converter, plan, upload) =>
                converter.Convert(ImageId.New(), plan, upload, (_, _) => Task.FromResult(true), _ => Task.CompletedTask, default)));

            var ratio = Middle(imports) / Middle(converts);
            table.AddRow(
                $"import of a qcow2 of {mebibytes} MiB, from the last byte of the upload on, middle of {Rounds}",
                $"{Middle(imports):0} ms",
                $"qemu-img convert with the same options, and sync: {Middle(converts):0} ms",
                string.Create(CultureInfo.InvariantCulture, $"{ratio:0.00} times, goal {Goal} times"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task Make(string image, int mebibytes)
    {
        var raw = $"{image}.raw";
        await using (var file = File.Create(raw))
        {
            for (var chunk = 0; chunk < mebibytes; chunk++)
                await file.WriteAsync(RandomNumberGenerator.GetBytes(1 << 20));
        }

        await Run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image);
        File.Delete(raw);
    }

    private static async Task Rewrite(FolderLibraryStore store, ImageConverter converter, UploadPlan plan, ReceivedUpload upload)
    {
        var target = store.ConvertedPathOf(plan.Layer);
        await Run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", "-t", "writeback", "-o", "cluster_size=64k", upload.Path, target);
        UnixFiles.SyncFile(target);
    }

    /// <summary>Measures the processing of a complete upload that is on the disk.</summary>
    private static async Task<double> Measure(string image, string library, Func<FolderLibraryStore, ImageConverter, UploadPlan, ReceivedUpload, Task> work)
    {
        var layers = new LayerStoreOptions { Folder = library };
        var confinement = new ProcessConfinement(NullLogger<ProcessConfinement>.Instance);
        var tools = new QemuImg(confinement);
        var wrapped = Options.Create(layers);
        var transfers = new LayerTransfers(new(TimeProvider.System), new(wrapped, TimeProvider.System), new NoDataPlane(), wrapped, TimeProvider.System);
        var store = new FolderLibraryStore(library, layers, tools, transfers, NullLogger<FolderLibraryStore>.Instance);
        var (options, bounds) = (Options.Create(new ImportOptions()), Options.Create(new LibraryOptions()));
        var receiver = new ImageReceiver(store, options, bounds, TimeProvider.System);
        var converter = new ImageConverter(store, tools, confinement, new(store, confinement, options, bounds), options, TimeProvider.System);
        var plan = new UploadPlan(OperationId.New(), LayerId.New(), new("image", Format: null));
        await using var file = File.OpenRead(image);
        var upload = await receiver.Receive(plan, file, announcedBytes: null, (_, _) => Task.FromResult(true), _ => Task.CompletedTask, default);
        UnixFiles.SyncFile(upload.Path);

        var clock = Stopwatch.StartNew();
        await work(store, converter, plan, upload);
        var time = clock.Elapsed.TotalMilliseconds;
        Directory.Delete(library, recursive: true);
        return time;
    }

    private static double Middle(List<double> times) => times.Order().ElementAt(times.Count / 2);

    private static async Task Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} failed.");
    }

    private sealed class NoDataPlane : IDataPlane
    {
        public Uri UploadAddress(ImageId image) => throw new NotSupportedException();

        public ExportTicket OfferExport(ImageId image) => throw new NotSupportedException();

        public Uri? LayerAddress(LayerId layer) => null;
    }
}

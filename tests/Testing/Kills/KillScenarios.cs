using System.Globalization;
using System.IO.Compression;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Instances.Library;
using Instances.Operations;

namespace Instances.Testing.Kills;

/// <summary>An action of users or of the library, the places in it where the process can be killed, and the expected state afterwards.</summary>
/// <param name="Run">Gets the place. Throws <see cref="KillException"/> if a promise was not kept.</param>
internal sealed record KillScenario(string Name, string[] Points, Func<KillScene, string, Task> Run);

internal static class KillScenarios
{
    private static readonly string[] Conversion =
    [
        "import.begun", "import.received", "import.disk-accepted", "import.checked", "import.converted", "import.installed", "manifest.unfinished", "import.manifest-written", "import.source-deleted", "import.recorded",
    ];

    public static readonly IReadOnlyList<KillScenario> All =
    [
        new("import in one request", Conversion, ImportInOneRequest),
        new("import in parts", [.. Conversion, "import.part-received", "import.part-received:2", "import.whole"], (scene, point) => ImportInParts(scene, point, disk => disk)),
        new("compressed import in parts", ["import.checked", "import.converted"], (scene, point) => ImportInParts(scene, point, Pack)),
        new("import from a path", Conversion, ImportFromPath),
        new("import that is not repeated", ["import.converted"], AbandonedImport),
        new("refused import", ["import.failed", "import.unpublished"], RefusedImport),
        new("retire", ["retire.marked", "retire.looked"], Retire),
        new("restore", ["restore.manifest-written", "manifest.unfinished", "restore.recorded"], Restore),
        new("collection",
            [
                "retire.marked", "retire.looked", "collection.manifest-deleted", "collection.record-deleted", "collection.bound", "collection.check-deleted", "collection.layer-deleted",
            ],
            Collect),
        new("retire with slaves", ["retire.marked", "retire.marked:2", "retire.slaves-marked", "retire.looked:2"], RetireWithSlaves),
        new("scrub", ["scrub.check-unfinished", "scrub.check-written", "scrub.judged", "scrub.pulled", "scrub.replaced"], Scrub),
        new("first scrub", ["scrub.check-written", "scrub.digest-recorded", "manifest.unfinished"], FirstScrub),
        new("promote", ["import.begun", "promote.checked", "promote.converted", "promote.installed", "manifest.unfinished", "promote.manifest-written", "import.recorded"], Promote),
        new("compaction",
            [
                "compaction.planned", "compaction.referenced", "compaction.checked", "compaction.merged", "compaction.installed", "compaction.manifest-written", "compaction.switched",
                "compaction.recorded",
            ],
            Compact),
        new("rename", ["change.manifest-written", "manifest.unfinished"], Rename),
        new("rebuild", ["rebuild.recorded", "rebuild.recorded:2", "rebuild.bound"], Rebuild),
    ];

    private static Task ImportInOneRequest(KillScene scene, string point) => Import(scene, point, $"{KillScene.Root}/images?format=raw&name=", disk => Body(disk));

    private static Task ImportFromPath(KillScene scene, string point)
    {
        var file = Path.Combine(scene.Inbox, Guid.NewGuid().ToString("N"));
        return Import(scene, point, $"{KillScene.Root}/images/from-path?", disk =>
        {
            // Once: the next silo may be reading it.
            if (!File.Exists(file)) File.WriteAllBytes(file, disk);
            return JsonContent.Create(new { Name = Path.GetFileName(file), Path = file, Format = "raw" }, options: InstancesJson.Options);
        });
    }

    private static async Task Import(KillScene scene, string point, string path, Func<byte[], HttpContent> content)
    {
        var (name, disk, key) = (scene.NewName("import"), scene.NewDisk(), Guid.NewGuid().ToString());
        var isPath = path.EndsWith('?');
        HttpRequestMessage Request() => new(HttpMethod.Post, isPath ? path : path + name) { Headers = { { "Idempotency-Key", key } }, Content = content(disk) };
        var file = Request();
        await scene.Kill(point, async () => (await scene.Http.SendAsync(file)).Dispose());

        // The client has lost the answer and repeats the request: with the same key it is the same import.
        using var again = Request();
        if (isPath) again.Content = file.Content is JsonContent json ? JsonContent.Create(json.Value, json.ObjectType, options: InstancesJson.Options) : null;
        var operation = await Ask<OperationView>(scene, again);
        var ended = await Settle(scene, operation, cancel: !isPath && point != "import.begun"); // There the bytes came with the second request.
        Tell(scene, isPath ? "import from a path" : "import in one request", ended, disk, mayFail: !isPath && point != "import.recorded" && point != "import.begun");
        await scene.Look([operation.Image!.Value]);
    }

    /// <summary>The import ends without help.</summary>
    private static async Task AbandonedImport(KillScene scene, string point)
    {
        var name = scene.NewName("abandoned");
        var disk = scene.NewDisk();
        await scene.Kill(point, async () => (await scene.Http.PostAsync($"{KillScene.Root}/images?format=raw&name={name}", Body(disk))).Dispose());

        var image = Assert(await scene.Client.ListImages(new(Name: name), default));
        await scene.Holds(async () => (await scene.Client.FindImage(image, default))!.Status is ImageStatus.Ready, () => "the import ends");
        scene.Expect(image, disk, ImageStatus.Ready);
        await scene.Look([]);

        static ImageId Assert(IReadOnlyList<ImageView> found) => found.Count == 1 ? found[0].Id : throw new KillException($"{found.Count} images are being imported under the name");
    }

    private static async Task ImportInParts(KillScene scene, string point, Func<byte[], byte[]> pack)
    {
        var (name, disk, key) = (scene.NewName("upload"), scene.NewDisk(), Guid.NewGuid().ToString());
        var file = pack(disk);
        await scene.Kill(point, () => Upload(scene, name, file, key));

        var operation = await Upload(scene, name, file, key);
        var ended = await Settle(scene, operation, cancel: false, () => Offset(scene, operation.Image!.Value));
        Tell(scene, "import in parts", ended, disk, mayFail: point == "import.source-deleted");
        await scene.Look([operation.Image!.Value]);
    }

    private static byte[] Pack(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(bytes);
        return packed.ToArray();
    }

    private static async Task<OperationView> Upload(KillScene scene, string name, byte[] disk, string key)
    {
        using var begin = Tus(HttpMethod.Post, $"{KillScene.Root}/images/uploads", ("Upload-Length", Text(disk.Length)), ("Idempotency-Key", key),
            ("Upload-Metadata", $"name {Convert.ToBase64String(Encoding.UTF8.GetBytes(name))},format {Convert.ToBase64String("raw"u8)}"));
        var operation = await Ask<OperationView>(scene, begin);
        while (await Offset(scene, operation.Image!.Value) is { } offset && offset < disk.Length)
        {
            using var part = Tus(HttpMethod.Patch, $"{KillScene.Root}/images/uploads/{operation.Image}", ("Upload-Offset", Text(offset)));
            part.Content = new ByteArrayContent(disk, (int)offset, Math.Min(disk.Length / 2, disk.Length - (int)offset)) { Headers = { ContentType = new("application/offset+octet-stream") } };
            using var answer = await scene.Http.SendAsync(part);
            if (!answer.IsSuccessStatusCode) throw new KillException($"a part was refused: {await answer.Content.ReadAsStringAsync()}");
        }

        return operation;
    }

    /// <returns>Null if the upload has ended and nothing of it is kept.</returns>
    private static async Task<long?> Offset(KillScene scene, ImageId image)
    {
        using var ask = Tus(HttpMethod.Head, $"{KillScene.Root}/images/uploads/{image}");
        using var answer = await scene.Http.SendAsync(ask);
        return answer.IsSuccessStatusCode ? long.Parse(answer.Headers.GetValues("Upload-Offset").Single(), CultureInfo.InvariantCulture) : null;
    }

    /// <summary>Damaged gzip data: that is found after the answer.</summary>
    private static async Task RefusedImport(KillScene scene, string point)
    {
        var (name, key) = (scene.NewName("refused"), Guid.NewGuid().ToString());
        HttpRequestMessage Request() => new(HttpMethod.Post, $"{KillScene.Root}/images?name={name}") { Headers = { { "Idempotency-Key", key } }, Content = Body([0x1F, 0x8B, 8, .. new byte[4096]]) };
        await scene.Kill(point, async () => (await scene.Http.SendAsync(Request())).Dispose());

        using var again = Request();
        var operation = await Ask<OperationView>(scene, again);
        var ended = await Settle(scene, operation, cancel: false);
        if (ended.Status is not OperationStatus.Failed) throw new KillException($"a refused import is {ended.Status}");
        scene.Expect(operation.Image!.Value, [], ImageStatus.Failed);
        await scene.Look([]);
    }

    private static async Task Retire(KillScene scene, string point)
    {
        var image = await scene.NewMaster();
        await scene.Kill(point, () => scene.Client.DeleteImage(image.Id, default));

        await OneOf(scene, image.Id, ImageStatus.Ready, ImageStatus.Retired);
        await scene.Client.DeleteImage(image.Id, default);
        scene.Expect(image.Id, ImageStatus.Retired);
        await scene.Look([image.Id]);
    }

    private static async Task Restore(KillScene scene, string point)
    {
        var image = await scene.NewMaster();
        await scene.Client.DeleteImage(image.Id, default);
        await scene.Kill(point, () => scene.Client.RestoreImage(image.Id, default));

        await OneOf(scene, image.Id, ImageStatus.Retired, ImageStatus.Ready);
        await scene.Client.RestoreImage(image.Id, default);
        await scene.Look([image.Id]);
    }

    private static async Task Collect(KillScene scene, string point)
    {
        await scene.SetGrace(TimeSpan.Zero);
        var image = await scene.NewMaster();
        await Verified(scene);
        await scene.Kill(point, () => scene.Client.DeleteImage(image.Id, default));

        if (await OneOf(scene, image.Id, ImageStatus.Ready, ImageStatus.Retired, null) is ImageStatus.Ready) await scene.Client.DeleteImage(image.Id, default);
        scene.Expect(image.Id, status: null);
        await scene.Holds(async () => await scene.Client.FindImage(image.Id, default) is null, () => $"the image {image.Id} goes");
        await scene.Look([]);
        await scene.SetGrace(TimeSpan.FromDays(1));
    }

    private static async Task RetireWithSlaves(KillScene scene, string point)
    {
        var (master, slave) = await scene.NewSlave();
        await scene.Kill(point, () => scene.Client.DeleteImageWithSlaves(master.Id, dryRun: false, default));

        await OneOf(scene, slave.Id, ImageStatus.Ready, ImageStatus.Retired);
        if (await OneOf(scene, master.Id, ImageStatus.Ready, ImageStatus.Retired) is ImageStatus.Ready) await scene.Client.DeleteImageWithSlaves(master.Id, dryRun: false, default);
        scene.Expect(master.Id, ImageStatus.Retired);
        scene.Expect(slave.Id, ImageStatus.Retired);
        await scene.Look([master.Id, slave.Id]);
    }

    private static async Task Scrub(KillScene scene, string point)
    {
        var (master, slave) = await scene.NewSlave();
        await Verified(scene);
        var path = Path.Combine(scene.Library, $"{master.Disks[0].Layers[0].Id}.qcow2");
        var bytes = await File.ReadAllBytesAsync(path);
        bytes[^70_000] ^= 1;

        // The host's copy may be a link to the same file.
        File.Delete(path);
        await File.WriteAllBytesAsync(path, bytes);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        await scene.Kill(point, () => scene.Client.VerifyLibrary(default));

        await OneOf(scene, master.Id, ImageStatus.Ready, ImageStatus.Corrupt);
        await Verified(scene);
        await scene.Holds(async () => (await scene.Client.FindImage(slave.Id, default))!.Status is ImageStatus.Ready, () => "what was healed is Ready again");
        await scene.Holds(async () => (await scene.Client.FindImage(master.Id, default))!.Status is ImageStatus.Ready, () => "what was healed is Ready again");
        await scene.Look([master.Id, slave.Id]);
    }

    private static async Task FirstScrub(KillScene scene, string point)
    {
        var image = await scene.NewMaster();
        await scene.Kill(point, () => scene.Client.VerifyLibrary(default));

        await Verified(scene);
        await scene.Look([image.Id]);
    }

    private static async Task Rename(KillScene scene, string point)
    {
        var (image, name) = (await scene.NewMaster(), scene.NewName("renamed"));
        await scene.Kill(point, () => scene.Client.ChangeImage(image.Id, new { Name = name }, ifVersion: null, default));

        var found = (await scene.Client.FindImage(image.Id, default))!.Name;
        if (found != image.Name && found != name) throw new KillException($"the image was '{image.Name}', was to be '{name}', and is '{found}'");
        await scene.Client.ChangeImage(image.Id, new { Name = name }, ifVersion: null, default);
        await scene.Look([image.Id]);
    }

    private static async Task Rebuild(KillScene scene, string point)
    {
        var (first, second) = (await scene.NewMaster(), await scene.NewMaster());
        await scene.LoseDatabase();
        await scene.Kill(point, () => scene.Client.RebuildLibrary(dryRun: false, default));

        await scene.Holds(async () => (await scene.Client.GetLibraryRebuild(default)) is { FinishedAt: not null, LeftOut: 0 }, () => "the rebuild is resumed and ends");
        await scene.Look([first.Id, second.Id]);
    }

    /// <summary>Reads the whole library, and waits.</summary>
    private static async Task Verified(KillScene scene)
    {
        await scene.Client.VerifyLibrary(default);
        await scene.Holds(async () => (await scene.Client.GetLibraryHealth(default)) is { IsDone: true, Reading: null, Corrupt.Count: 0 }, () => "the library is read and sound");
    }

    private static async Task<ImageStatus?> OneOf(KillScene scene, ImageId image, params ImageStatus?[] allowed)
    {
        var status = (await scene.Client.FindImage(image, default))?.Status;
        return allowed.Contains(status) ? status : throw new KillException($"the image {image} is {status?.ToString() ?? "gone"}: neither the old state nor the new one");
    }

    private static async Task Promote(KillScene scene, string point)
    {
        var (master, slave) = await scene.NewSlave();
        var (name, key) = (scene.NewName("gold"), Guid.NewGuid().ToString());
        HttpRequestMessage Request() => new(HttpMethod.Post, $"{KillScene.Root}/images/{slave.Id}/promote")
        {
            Headers = { { "Idempotency-Key", key } },
            Content = JsonContent.Create(new { Name = name }, options: InstancesJson.Options),
        };
        await scene.Kill(point, async () => (await scene.Http.SendAsync(Request())).Dispose());

        using var again = Request();
        var operation = await Ask<OperationView>(scene, again);
        Tell(scene, "promotion", await Settle(scene, operation, cancel: false), scene.DiskOf(slave.Id), mayFail: false);
        await scene.Look([master.Id, slave.Id, operation.Image!.Value]);
    }

    /// <summary>It begins automatically after the capture that makes a chain too deep, and is resumed automatically.</summary>
    private static async Task Compact(KillScene scene, string point)
    {
        var (appliance, machine, master) = await scene.NewMachine();
        List<ImageId> images = [];

        // In some runs the layers are merged onto the merged layers of an earlier image.
        var isOverAnother = scene.Toss();
        for (var capture = isOverAnother ? 0 : 1; capture < KillScene.MaxChainDepth; capture++) images.Add(await scene.Capture(appliance, machine));
        await scene.Holds(() => IsShort(images[^1]), () => "the chain of the image before is short");
        var (disk, key) = (await scene.Write(machine), Guid.NewGuid().ToString());
        HttpRequestMessage Request() => new(HttpMethod.Post, $"{KillScene.Root}/appliances/{appliance}/instances") { Headers = { { "Idempotency-Key", key } } };
        await scene.Kill(point, async () => (await scene.Http.SendAsync(Request())).Dispose());

        // The answer may be lost; with the same key it is the same capture.
        using var again = Request();
        var ended = await scene.End((await Ask<OperationView>(scene, again)).Id);
        if (ended.Status is not OperationStatus.Succeeded) throw new KillException($"the capture ended as {ended.Status}: {ended.Fault}");
        images.Add(ended.Result!.Instances![0].Image);
        scene.Expect(images[^1], disk, ImageStatus.Ready);
        await scene.Client.DeleteAppliance(appliance, default);
        await scene.Holds(() => IsShort(images[^1]), () => "the chain is short");
        if (isOverAnother && (await Layers(images[^1])).Count(layer => layer.StandsFor is not null) < 2) throw new KillException("the image is not based on the merged layers of the previous one");
        await scene.Look([master, .. images]);

        async Task<bool> IsShort(ImageId image) => (await Layers(image)).Count <= KillScene.MaxChainDepth && (await scene.Client.GetLibraryCompaction(default)).Running is null;

        async Task<IReadOnlyList<LayerManifest>> Layers(ImageId image) => (await scene.Client.FindImage(image, default))!.Disks[0].Layers;
    }

    /// <summary>Waits for the end of an import.</summary>
    /// <param name="cancel">Whether to cancel an import that has not ended, because its bytes are lost with the client's connection.</param>
    /// <param name="nudge">What the client does meanwhile.</param>
    private static async Task<OperationView> Settle(KillScene scene, OperationView operation, bool cancel, Func<Task>? nudge = null)
    {
        if (cancel && (await scene.Client.GetOperation(operation.Id, default)) is { IsFinished: false })
        {
            try
            {
                await scene.Client.Cancel(operation.Id, default);
            }
            catch (Client.ProblemException exception) when (exception.Code == "operation-finished")
            {
                // It has ended meanwhile.
            }
        }

        OperationView? view = null;
        await scene.Holds(
            async () =>
            {
                if (nudge is not null) await nudge();
                return (view = await scene.Client.GetOperation(operation.Id, default)).IsFinished;
            },
            () => $"the import ends: it is {view?.Status} in {view?.Step}");
        return view!;
    }

    private static void Tell(KillScene scene, string what, OperationView ended, byte[] disk, bool mayFail)
    {
        scene.Report.End($"{what}: {ended.Status}");
        if (ended.Status is not OperationStatus.Succeeded && !mayFail) throw new KillException($"the {what} ended as {ended.Status}: {ended.Fault}");
        scene.Expect(ended.Image!.Value, disk, ended.Status is OperationStatus.Succeeded ? ImageStatus.Ready : ImageStatus.Failed);
    }

    private static async Task<T> Ask<T>(KillScene scene, HttpRequestMessage request)
    {
        using var answer = await scene.Http.SendAsync(request);
        var text = await answer.Content.ReadAsStringAsync();
        return answer.IsSuccessStatusCode ? JsonSerializer.Deserialize<T>(text, InstancesJson.Options)! : throw new KillException($"{request.Method} {request.RequestUri} was refused: {text}");
    }

    private static ByteArrayContent Body(byte[] bytes) => new(bytes) { Headers = { ContentType = new MediaTypeHeaderValue("application/octet-stream") } };

    private static HttpRequestMessage Tus(HttpMethod method, string url, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, url) { Headers = { { "Tus-Resumable", "1.0.0" } } };
        foreach (var (name, value) in headers) request.Headers.Add(name, value);
        return request;
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}

using System.IO.Compression;
using System.Reflection;
using Instances.Operations;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans;
using Xunit;
using static Instances.Library.Import.TestImages;

namespace Instances.Library.Import;

/// <summary>The queue over real files, with the image's grain played by the test.</summary>
public sealed class ImportQueueTests : IDisposable
{
    private static readonly TimeSpan s_patience = Testing.Bounds.Wait;

    private readonly TestLibrary _library = new();
    private readonly TestGrains _grains = DispatchProxy.Create<IGrainFactory, TestGrains>() as TestGrains ?? throw new InvalidOperationException();
    private readonly ImportPlaces _places = new(Options.Create(new LibraryOptions { MaxUploads = 1 }), TimeProvider.System);
    private readonly byte[] _bytes = Plain;
    private readonly ImageId _image = ImageId.New();
    private readonly UploadPlan _plan = new(OperationId.New(), LayerId.New(), new("image", ImageFormat.Qcow2));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _library.Dispose();

    [Fact]
    public async Task Waiting_Upload_IsReportedAndDroppedWhenCancelled()
    {
        var reports = 0;
        _grains.Answer = (method, arguments) =>
        {
            Assert.Equal((nameof(IImageGrain.ReportImport), ImportStage.Receiving, (long)BytesOf(ImageCompression.Gzip).Length), (method, (ImportStage)arguments[1]!, (long)arguments[2]!));
            return Task.FromResult(++reports < 3);
        };
        // Nothing is converted: the converter for small uploads does not take a compressed one.
        using var queue = await Queue(converters: 0);

        Add(queue, ImageCompression.Gzip);

        await Eventually(() => !File.Exists(_library.Store.PartPathOf(_plan.Layer)));
        Assert.Equal(3, reports);
        await Eventually(() => _places.UnderWay.Count == 0);
        await queue.StopAsync(Token);
    }

    [Theory]
    [InlineData(null)]
    [InlineData(ImageStatus.Ready)]
    [InlineData(ImageStatus.Failed)]
    public async Task Completed_Import_IsDiscardedOnlyWhereItIsKnownNotToBeReady(ImageStatus? status)
    {
        _grains.Answer = (method, _) => method switch
        {
            nameof(IImageGrain.ReportImport) => Task.FromResult(true),
            nameof(IImageGrain.CompleteImport) when status is null => Task.FromException<ImageView>(new TimeoutException()),
            nameof(IImageGrain.CompleteImport) => Task.FromResult(View(status.Value)),
            _ => throw new InvalidOperationException(method),
        };
        using var queue = await Queue(converters: 1);

        Add(queue);

        await Eventually(() => _places.UnderWay.Count == 0);
        Assert.Equal(status is not ImageStatus.Failed, _library.Store.Contains(_plan.Layer));
        Assert.Equal(status is ImageStatus.Failed ? 0 : 1, (await _library.Store.ReadManifests(Token)).Count);
        await queue.StopAsync(Token);
    }

    /// <summary>As a restart in order does it. The next process converts the upload again.</summary>
    [Theory]
    [InlineData(ImportStage.Checking, null)]
    [InlineData(ImportStage.Converting, null)]
    [InlineData(ImportStage.Publishing, null)]
    [InlineData(ImportStage.Converting, ImageCompression.Gzip)]
    public async Task Stopped_WhileItConverts_KeepsTheUpload(ImportStage at, ImageCompression? compression)
    {
        var stopped = Task.CompletedTask;
        ImportQueue? first = null;
        _grains.Answer = (method, arguments) =>
        {
            // No end is told: the image stays Importing.
            Assert.Contains(method, new[] { nameof(IImageGrain.ReportImport), nameof(IImageGrain.AcceptDisk) });
            if (method is nameof(IImageGrain.ReportImport) && (ImportStage)arguments[1]! == at) stopped = first!.StopAsync(Token);
            return Task.FromResult(true);
        };
        using (first = await Queue(converters: 1))
        {
            Add(first, compression);
            await Eventually(() => _places.UnderWay.Count == 0);
            await stopped;
        }

        _grains.Answer = (method, _) => method is nameof(IImageGrain.CompleteImport) ? Task.FromResult(View(ImageStatus.Ready))
            : method is nameof(IImageGrain.AcceptDisk) or nameof(IImageGrain.ReportImport) ? Task.FromResult(true)
            : throw new InvalidOperationException(method);
        Assert.Equal(BytesOf(compression), await File.ReadAllBytesAsync(_library.Store.PartPathOf(_plan.Layer), Token));
        using var second = await Queue(converters: 1);
        Add(second, compression);
        await Eventually(() => _places.UnderWay.Count == 0);
        await second.StopAsync(Token);

        Assert.True(_library.Store.IsSealed(_plan.Layer));
        Assert.Empty(Directory.EnumerateFiles(_library.Store.Incoming));
    }

    /// <summary>A kill at this moment must leave the upload, too: what was expanded is not taken up.</summary>
    [Fact]
    public async Task Compressed_Upload_IsThereUntilTheImageIs()
    {
        var kept = new List<bool>();
        _grains.Answer = (method, arguments) =>
        {
            if (method is nameof(IImageGrain.CompleteImport)) return Task.FromResult(View(ImageStatus.Ready));
            if (method is nameof(IImageGrain.ReportImport) && (ImportStage)arguments[1]! is ImportStage.Converting or ImportStage.Publishing)
                kept.Add(File.Exists(_library.Store.PartPathOf(_plan.Layer)));
            return Task.FromResult(true);
        };
        using var queue = await Queue(converters: 1);

        Add(queue, ImageCompression.Gzip);

        await Eventually(() => _places.UnderWay.Count == 0);
        await queue.StopAsync(Token);
        Assert.NotEmpty(kept);
        Assert.DoesNotContain(false, kept);
        Assert.Empty(Directory.EnumerateFiles(_library.Store.Incoming));
    }

    private async Task<ImportQueue> Queue(int converters)
    {
        var options = Options.Create(new ImportOptions { Converters = converters, ReportPeriod = TimeSpan.FromMilliseconds(20) });
        var decompressor = new Decompressor(_library.Store, _library.Confinement, options, Options.Create(new LibraryOptions()));
        var converter = new ImageConverter(_library.Store, _library.Tools, _library.Confinement, decompressor, options, TimeProvider.System);
        var queue = new ImportQueue((IGrainFactory)(object)_grains, converter, options, Options.Create(new LibraryOptions()), TimeProvider.System, NullLogger<ImportQueue>.Instance);
        await queue.StartAsync(Token);
        return queue;
    }

    private void Add(ImportQueue queue, ImageCompression? compression = null)
    {
        var path = _library.Store.PartPathOf(_plan.Layer);
        var bytes = BytesOf(compression);
        File.WriteAllBytes(path, bytes);
        queue.Add(_image, _plan, new(path, bytes.Length, new string('0', 64), compression, compression is not null ? null : new(ImageFormat.Qcow2, 16 << 20)), _places.Take(_image));
    }

    private byte[] BytesOf(ImageCompression? compression)
    {
        if (compression is null) return _bytes;
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(_bytes);
        return packed.ToArray();
    }

    private ImageView View(ImageStatus status) =>
        new(_image, "image", ImageKind.Master, status, Master: null, Parent: null, 0, [], DateTimeOffset.UnixEpoch, RetiredAt: null, Import: null, Capture: null, Failure: null);

    private static async Task Eventually(Func<bool> holds)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Token);
        bound.CancelAfter(s_patience);
        while (!holds()) await Task.Delay(20, bound.Token);
    }

    /// <summary>A factory whose only grain answers as the test says.</summary>
    public class TestGrains : DispatchProxy
    {
        internal Func<string, object?[], object?> Answer { get; set; } = (method, _) => throw new InvalidOperationException(method);

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod!.Name != nameof(IGrainFactory.GetGrain)) return Answer(targetMethod.Name, args!);
            var grain = DispatchProxy.Create<IImageGrain, TestGrains>();
            ((TestGrains)(object)grain).Answer = (method, arguments) => Answer(method, arguments);
            return grain;
        }
    }
}

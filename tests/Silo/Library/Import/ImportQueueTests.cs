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
            Assert.Equal((nameof(IImageGrain.ReportImport), ImportStage.Receiving, (long)_bytes.Length), (method, (ImportStage)arguments[1]!, (long)arguments[2]!));
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
        File.WriteAllBytes(path, _bytes);
        queue.Add(_image, _plan, new(path, _bytes.Length, new string('0', 64), compression, compression is not null ? null : new(ImageFormat.Qcow2, 16 << 20)), _places.Take(_image));
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

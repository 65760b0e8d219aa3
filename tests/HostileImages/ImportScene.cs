using Instances.Operations;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>A library into which uploads are imported, with the product's receiver and converter.</summary>
internal sealed class ImportScene : IDisposable
{
    public const long MaxVirtualBytes = 1L << 40;
    public const long MaxUploadBytes = 256L << 20;

    private readonly ImageReceiver _receiver;
    private readonly ImageConverter _converter;

    public ImportScene(long maxUploadBytes = MaxUploadBytes, long maxVirtualBytes = MaxVirtualBytes)
    {
        var options = Options.Create(new ImportOptions { MaxVirtualBytes = maxVirtualBytes });
        var bounds = Options.Create(new LibraryOptions { MaxUploadBytes = maxUploadBytes });
        _receiver = new(Library.Store, options, bounds, TimeProvider.System);
        _converter = new(Library.Store, Library.Tools, Library.Confinement, new(Library.Store, Library.Confinement, options, bounds), options, TimeProvider.System);
    }

    public TestLibrary Library { get; } = new();

    public string PathOf(ImageManifest manifest) => Library.Store.PathOf(manifest.Disks[0].Layers[0].Id);

    public async Task<ImageManifest> Import(byte[] bytes, ImageFormat? declared, CancellationToken cancellationToken, bool acceptSignature = false)
    {
        var plan = PlanOf(declared);
        plan = plan with { Command = plan.Command with { AcceptSignature = acceptSignature } };
        return await Convert(plan, await Receive(plan, new MemoryStream(bytes), cancellationToken), cancellationToken);
    }

    public static UploadPlan PlanOf(ImageFormat? declared) => new(OperationId.New(), LayerId.New(), new("image", declared));

    public Task<ReceivedUpload> Receive(UploadPlan plan, Stream bytes, CancellationToken cancellationToken) =>
        _receiver.Receive(plan, bytes, announcedBytes: null, Report, Admit, cancellationToken);

    public Task<ImageManifest> Convert(UploadPlan plan, ReceivedUpload upload, CancellationToken cancellationToken) =>
        _converter.Convert(ImageId.New(), plan, upload, Report, Admit, cancellationToken);

    public string[] Files() => Directory.GetFiles(Library.Store.Folder, "*", SearchOption.AllDirectories);

    public void Dispose() => Library.Dispose();

    private static Task<bool> Report(ImportStage stage, long bytes) => Task.FromResult(true);

    private static Task Admit(long virtualSizeBytes) => Task.CompletedTask;
}

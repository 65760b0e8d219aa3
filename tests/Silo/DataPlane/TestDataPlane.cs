using System.Net;
using System.Net.Http.Headers;
using Instances.Library;
using Instances.Operations;
using Instances.Storage;
using Instances.Testing;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Xunit;

namespace Instances.DataPlane;

/// <summary>A silo with the real image grain, the real library and the real web server, on a port and in a folder of its own.</summary>
internal sealed class TestDataPlane : IAsyncDisposable
{
    private readonly string _folder;
    private readonly (string Key, string Value)[] _settings;
    private readonly WebApplication _app;

    private TestDataPlane(string folder, (string Key, string Value)[] settings)
    {
        (_folder, _settings) = (folder, settings);
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Configuration["LayerStore:Folder"] = Path.Combine(_folder, "layers");
        builder.Configuration["Import:ReportPeriod"] = "00:00:00.050";
        foreach (var (key, value) in settings)
            builder.Configuration[key] = value.Replace("$folder", _folder, StringComparison.Ordinal);
        builder.Services.AddLibrary();
        builder.Services.AddDataPlane();
        builder.Host.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(Ports.Free(), gatewayPort: 0, serviceId: "instances", clusterId: "test");
            silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db")));
            silo.AddInstancesGrains();
        });
        _app = builder.Build();
        _app.MapDataPlane();
    }

    public HttpClient Client { get; } = new() { Timeout = Bounds.Wait };

    public FolderLibraryStore Store => _app.Services.GetRequiredService<FolderLibraryStore>();

    public IGrainFactory Grains => _app.Services.GetRequiredService<IGrainFactory>();

    public static Task<TestDataPlane> Start(params (string Key, string Value)[] settings) => Start(sweepsByHand: false, settings);

    /// <param name="sweepsByHand">Only the test sweeps: for tests that add layers before their records.</param>
    public static async Task<TestDataPlane> Start(bool sweepsByHand, params (string Key, string Value)[] settings)
    {
        var folder = MemoryFolder.Create("data-plane-");
        MigratedDatabase.CopyTo(Path.Combine(folder, "instances.db"));
        var plane = new TestDataPlane(folder, settings);
        if (sweepsByHand) plane.SweepAfter(TimeSpan.FromDays(1));
        await plane._app.StartAsync();
        return plane;
    }

    public T Service<T>()
        where T : notnull => _app.Services.GetRequiredService<T>();

    public async Task<Import> Begin(ImageFormat format, long? bytes = null, string? sha256 = null)
    {
        var (image, operation) = (ImageId.New(), OperationId.New());
        var ticket = await Grains.GetGrain<IImageGrain>(image.Value).BeginImport(operation, new("image", format, bytes, sha256));
        return new(image, operation, ticket);
    }

    public async Task<Import> BeginUpload(ImageFormat format, long bytes, string? sha256 = null, string name = "image")
    {
        var (image, operation) = (ImageId.New(), OperationId.New());
        await Grains.GetGrain<IImageGrain>(image.Value).BeginUpload(operation, new(name, format, bytes, sha256));
        return new(image, operation, new(new Uri("about:blank"), ""));
    }

    public async Task<Import> BeginFromPath(ImageFormat format, string path, string? sha256 = null)
    {
        var (image, operation) = (ImageId.New(), OperationId.New());
        await Grains.GetGrain<IImageGrain>(image.Value).BeginImportFromPath(operation, new("image", format, Bytes: null, sha256), path);
        return new(image, operation, new(new Uri("about:blank"), ""));
    }

    /// <summary>Sends a part as a gateway does.</summary>
    public async Task<HttpResponseMessage> Patch(Import import, long offset, HttpContent content)
    {
        var ticket = await Image(import).ContinueUpload();
        var request = new HttpRequestMessage(HttpMethod.Patch, ticket.Address) { Content = content };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket.Secret);
        request.Headers.Add("Upload-Offset", offset.ToString(System.Globalization.CultureInfo.InvariantCulture));
        return await Client.SendAsync(request);
    }

    public Task<HttpResponseMessage> Patch(Import import, long offset, byte[] bytes) => Patch(import, offset, new ByteArrayContent(bytes));

    /// <summary>A folder that the silo may be told to import from.</summary>
    public string Outside => Directory.CreateDirectory(Path.Combine(_folder, "outside")).FullName;

    /// <summary>As after a crash of the machine: the silo is gone, and another one starts on the same files and the same database.</summary>
    public async Task<TestDataPlane> Restart()
    {
        Client.Dispose();
        await _app.DisposeAsync();
        var next = new TestDataPlane(_folder, _settings);
        await next._app.StartAsync();
        return next;
    }

    /// <summary>How long after a deletion from now on the library sweeps by itself.</summary>
    public void SweepAfter(TimeSpan delay) => Service<IOptions<LibraryOptions>>().Value.SweepDelay = delay;

    public Task<SweepReport> Sweep() => Grains.GetGrain<ILibraryGrain>(ILibraryGrain.Key).Sweep();

    public Task<HttpResponseMessage> Put(Import import, HttpContent content, string? secret = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Put, import.Ticket.Address) { Content = content };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", secret ?? import.Ticket.Secret);
        return Client.SendAsync(request);
    }

    public Task<HttpResponseMessage> Put(Import import, byte[] bytes) => Put(import, new ByteArrayContent(bytes));

    public IImageGrain Image(Import import) => Grains.GetGrain<IImageGrain>(import.Image.Value);

    /// <summary>Waits until the import has ended, one way or the other.</summary>
    public async Task<OperationView> End(Import import)
    {
        OperationView? operation = null;
        await Eventually.Holds(
            async () => (operation = await Grains.GetGrain<IOperationGrain>(import.Operation.Value).Find()) is { IsFinished: true },
            "the import ends");
        return operation!;
    }

    /// <summary>Waits until the server takes the bytes of an upload.</summary>
    public Task UploadHasBegun() => Eventually.Holds(() => Task.FromResult(Directory.GetFiles(Store.Incoming).Length > 0), "the upload has begun");

    /// <summary>Waits until all files of all imports are deleted. The sweep may still be running.</summary>
    public Task NothingIsLeft() => Eventually.Holds(
        () => Task.FromResult(Directory.GetFiles(Store.Folder, "*", SearchOption.AllDirectories).All(file => Path.GetFileName(file) is "store.id" or "library.binding")), "nothing is left of the upload");

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.DisposeAsync();
        await Eventually.Holds(() => Task.FromResult(IsDeleted()), "nothing writes to the folder any more, and it is deleted");
    }

    /// <summary>A server that is disposed of and not stopped may be at its last file.</summary>
    private bool IsDeleted()
    {
        try
        {
            Directory.Delete(_folder, recursive: true);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}

/// <summary>One silo for the tests of a class.</summary>
public abstract class DataPlaneFixture(params (string Key, string Value)[] settings) : IAsyncLifetime
{
    internal TestDataPlane Plane { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Plane = await TestDataPlane.Start(sweepsByHand: true, settings);

    public async ValueTask DisposeAsync()
    {
        await Plane.DisposeAsync();
        GC.SuppressFinalize(this);
    }
}

internal sealed record Import(ImageId Image, OperationId Operation, UploadTicket Ticket);

/// <summary>A body whose bytes come when the test lets them.</summary>
internal sealed class HeldContent(byte[]? first = null) : HttpContent
{
    public const int Bytes = 8192;

    private readonly TaskCompletionSource _began = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<bool> _goOn = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The first bytes were sent.</summary>
    public Task Began => _began.Task;

    public void Finish() => _goOn.TrySetResult(true);

    public void BreakOff() => _goOn.TrySetResult(false);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        await stream.WriteAsync(first ?? [.. Enumerable.Repeat((byte)0xA5, Bytes / 2)]);
        await stream.FlushAsync();
        _began.TrySetResult();
        if (!await _goOn.Task)
            throw new IOException("The sender breaks off.");
        await stream.WriteAsync(new byte[Bytes / 2]);
    }

    protected override bool TryComputeLength(out long length)
    {
        length = Bytes;
        return true;
    }
}

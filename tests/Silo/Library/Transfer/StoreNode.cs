using Instances.DataPlane;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Instances.Library.Transfer;

/// <summary>A layer store in a folder of its own, with the real data plane on a real web server.</summary>
internal sealed class StoreNode : IAsyncDisposable
{
    private readonly WebApplication _app;

    private StoreNode(string folder, FakeTimeProvider? time, (string Key, string Value)[] settings)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Configuration["LayerStore:Folder"] = folder;
        builder.Configuration["LayerStore:MinimumFreeBytes"] = "0";
        foreach (var (key, value) in settings) builder.Configuration[key] = value;
        if (time is not null) builder.Services.AddSingleton<TimeProvider>(time);
        builder.Services.AddHostLayers();
        builder.Services.AddDataPlane();
        _app = builder.Build();
        _app.Use(async (context, next) =>
        {
            Requests++;
            await next(context);
        });
        _app.MapDataPlane();
    }

    public FolderLayerStore Store => (FolderLayerStore)_app.Services.GetRequiredService<ILayerStore>();

    public LayerTickets Tickets => _app.Services.GetRequiredService<LayerTickets>();

    public Uri Address => new(_app.Urls.First());

    /// <summary>How many requests have come.</summary>
    public int Requests { get; private set; }

    /// <param name="folder">On the file system that the test is about; emptied at the end by its maker.</param>
    public static async Task<StoreNode> Start(string folder, FakeTimeProvider? time = null, params (string Key, string Value)[] settings)
    {
        var node = new StoreNode(folder, time, settings);
        await node._app.StartAsync();
        return node;
    }

    /// <summary>A sealed layer of any content, with holes: data of a page at each of the offsets.</summary>
    public async Task<LayerId> AddLayer(long lengthBytes, params long[] pages)
    {
        var layer = LayerId.New();
        var path = Store.PathOf(layer);
        using (var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
        {
            RandomAccess.SetLength(file, lengthBytes);
            foreach (var page in pages)
            {
                var bytes = new byte[4096];
                Random.Shared.NextBytes(bytes);
                RandomAccess.Write(file, bytes, page);
            }
        }

        await Store.Seal(layer);
        return layer;
    }

    /// <summary>Pulls layers from another store to the end.</summary>
    public Task<TransferProgress> Pull(FolderLayerStore from, params LayerId[] layers) => Pull(from.Offer, layers);

    /// <summary>The same, with offers as a test makes them.</summary>
    public async Task<TransferProgress> Pull(Func<LayerId, LayerOffer> offer, params LayerId[] layers)
    {
        while (true)
        {
            if (await Store.Pull(layers, wanted => Task.FromResult<IReadOnlyList<LayerOffer>>([.. wanted.Select(offer)])) is { IsDone: true } done) return done;
        }
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}

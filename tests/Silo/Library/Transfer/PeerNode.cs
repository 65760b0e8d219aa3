using System.Globalization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Instances.Library.Transfer;

/// <summary>Another datacenter: a store with its real data plane behind the real relay of a gateway, each on a web server of its own. A test can replace the right answers.</summary>
internal sealed class PeerNode : IAsyncDisposable
{
    private readonly StoreNode _node;
    private readonly LayerRelay _relay = new(NullLogger<LayerRelay>.Instance);
    private readonly WebApplication _app;

    private PeerNode(StoreNode node)
    {
        _node = node;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _app = builder.Build();
        var layer = _app.MapGroup("/api/v1/datacenters/west/library/layers/{id}");
        layer.MapGet("", (LayerId id, HttpContext context) => Answer("", id, context, () => context.Response.WriteAsJsonAsync(View(id), InstancesJson.Options)));
        layer.MapGet("/content", (LayerId id, HttpContext context) => Answer("content", id, context, () => Relay(id, "", context)));
        layer.MapGet("/content/extents", (LayerId id, long from, HttpContext context) => Answer("extents", id, context, () => Relay(id, $"/extents?from={from.ToString(CultureInfo.InvariantCulture)}", context)));
    }

    public FolderLayerStore Store => _node.Store;

    public Uri Url => new($"{_app.Urls.First()}/api/v1/datacenters/west");

    /// <summary>The replaced answers: about the layer (the empty name), for its <c>content</c>, for its <c>extents</c>.</summary>
    public Dictionary<string, Func<LayerId, HttpContext, Task>> Instead { get; } = [];

    /// <summary>Actions on a request, by the same names, before its right answer.</summary>
    public Dictionary<string, Action<HttpContext>> Changed { get; } = [];

    public static async Task<PeerNode> Start(string folder)
    {
        var peer = new PeerNode(await StoreNode.Start(folder));
        await peer._app.StartAsync();
        return peer;
    }

    public LayerView View(LayerId layer) => Store.Offer(layer) is var offer ? new(layer, offer.Bytes, offer.LengthBytes, Sha256: null) : null!;

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        await _node.DisposeAsync();
        _relay.Dispose();
    }

    private Task Answer(string what, LayerId layer, HttpContext context, Func<Task> right)
    {
        if (Changed.TryGetValue(what, out var change)) change(context);
        return Instead.TryGetValue(what, out var other) ? other(layer, context) : right();
    }

    private async Task Relay(LayerId layer, string what, HttpContext context) => await (await _relay.Send(Store.Offer(layer), what, context)).ExecuteAsync(context);
}

using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Instances.Fakes;

/// <summary>Receives uploads like the silo's data plane, and counts the bytes. Each image's name says what to do with it.</summary>
internal sealed class FakeDataPlane : IAsyncDisposable
{
    public const string Refused = "refused-at-once";
    public const string RefusedLate = "refused-at-the-end";
    public const string Broken = "broken";
    public const string Busy = "busy";
    public const string RefusedInTheMiddle = "refused-in-the-middle";
    public const string RefusedEarly = "refused-early";

    private readonly WebApplication _app;

    public FakeDataPlane()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _app = builder.Build();
        _app.MapPut("/uploads/{name}", Take);
        _app.MapPatch("/uploads/{name}", TakePart);
        _app.MapGet("/layers/{name}/{what?}", Read);
        _app.MapMethods("/exports/{name}", [HttpMethods.Get, HttpMethods.Head], Give);
    }

    /// <summary>The offsets of uploads in parts.</summary>
    public FakeDatacenter? Datacenter { get; set; }

    /// <summary>Received bytes, by name.</summary>
    public ConcurrentDictionary<string, long> Received { get; } = [];

    /// <summary>The handlers of exports, by the name of the image.</summary>
    public ConcurrentDictionary<string, Func<HttpContext, Task>> Exports { get; } = [];

    /// <summary>The handlers of requests for layers, by id.</summary>
    public ConcurrentDictionary<string, Func<HttpContext, Task>> Layers { get; } = [];

    /// <summary>Raised after each piece.</summary>
    public event Action<string, long>? Arrived;

    /// <summary>Raised when the client of an import disconnects.</summary>
    public event Action<string>? SenderLeft;

    public Uri Address => new(_app.Urls.First());

    public Task Start() => _app.StartAsync();

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task Read(string name, HttpContext context)
    {
        if (context.Request.Headers.Authorization == $"Bearer {FakeDatacenter.Secret}") await Layers[name](context);
        else await Refusal(403, "ticket-invalid").ExecuteAsync(context);
    }

    private async Task Give(string name, HttpContext context)
    {
        if (context.Request.Headers.Authorization == $"Bearer {FakeDatacenter.Secret}") await Exports[name](context);
        else await Refusal(403, "ticket-invalid").ExecuteAsync(context);
    }

    /// <summary>Refuses parts that do not fit, and keeps the bytes of an interrupted part, like the real one.</summary>
    private async Task<IResult> TakePart(string name, HttpContext context)
    {
        if (context.Request.Headers.Authorization != $"Bearer {FakeDatacenter.Secret}") return Refusal(403, "ticket-invalid");
        if (name.StartsWith(Busy, StringComparison.Ordinal)) return Away(context);
        if (context.Request.Headers["Upload-Offset"] != $"{Datacenter!.Offsets.GetValueOrDefault(name)}") return Refusal(409, "upload-mismatch");
        var buffer = new byte[64 * 1024];
        for (int count; (count = await context.Request.Body.ReadAsync(buffer, context.RequestAborted)) > 0;)
        {
            var total = Datacenter.Offsets.AddOrUpdate(name, count, (_, before) => before + count);
            Arrived?.Invoke(name, total);
        }

        context.Response.Headers["Upload-Offset"] = $"{Datacenter.Offsets.GetValueOrDefault(name)}";
        context.Response.Headers["Upload-Expires"] = "Tue, 01 Dec 2026 00:00:00 GMT";
        return TypedResults.NoContent();
    }

    private async Task<IResult> Take(string name, HttpContext context)
    {
        if (context.Request.Headers.Authorization != $"Bearer {FakeDatacenter.Secret}") return Refusal(403, "ticket-invalid");
        if (name.StartsWith(Busy, StringComparison.Ordinal)) return Away(context);
        if (name.StartsWith(Refused, StringComparison.Ordinal)) return Refusal(422, "image-format-wrong");
        context.Features.GetRequiredFeature<IHttpMaxRequestBodySizeFeature>().MaxRequestBodySize = null;
        var buffer = new byte[64 * 1024];
        try
        {
            for (int count; (count = await context.Request.Body.ReadAsync(buffer, context.RequestAborted)) > 0;)
            {
                var total = Received.AddOrUpdate(name, count, (_, before) => before + count);
                Arrived?.Invoke(name, total);
                if (name.StartsWith(RefusedEarly, StringComparison.Ordinal)) return Refusal(422, "image-refers-outside");
                if (name.StartsWith(RefusedInTheMiddle, StringComparison.Ordinal)) context.Abort();
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException)
        {
            SenderLeft?.Invoke(name);
            throw;
        }

        return name.StartsWith(RefusedLate, StringComparison.Ordinal) ? Refusal(422, "digest-wrong")
            : name.StartsWith(Broken, StringComparison.Ordinal) ? TypedResults.InternalServerError()
            : TypedResults.Accepted((string?)null);
    }

    private static IResult Away(HttpContext context)
    {
        context.Response.Headers.RetryAfter = "7";
        return Refusal(503, "too-many-uploads");
    }

    public static IResult Refusal(int status, string code) => TypedResults.Text(
        $$"""{"type":"/problems/{{code}}","title":"Refused","status":{{status}},"detail":"The data plane says no.","code":"{{code}}","traceId":"x"}""",
        "application/problem+json", statusCode: status);
}

using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using Instances.Client;
using Instances.Fakes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Library;

/// <summary>Transfers of layers to another datacenter.</summary>
public sealed class LayerEndpointTests : IDisposable
{
    private const int MiB = 1 << 20;

    private readonly Gateway _gateway;
    private readonly LayerId _layer = LayerId.New();
    private readonly byte[] _digest = RandomNumberGenerator.GetBytes(SHA256.HashSizeInBytes);

    public LayerEndpointTests(Gateway gateway)
    {
        _gateway = gateway;
        gateway.Datacenter.LayerDigests[_layer] = Convert.ToHexStringLower(_digest);
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private string Content => $"{Local}/library/layers/{_layer}/content";

    public void Dispose()
    {
        _gateway.DataPlane.Layers.TryRemove($"{_layer}", out _);
        _gateway.Datacenter.LayerDigests.TryRemove(_layer, out _);
    }

    [Fact]
    public async Task Get_ALayer_SaysWhatItIsAndNotWhereItLies()
    {
        Assert.Equal(new(_layer, 4096, 65_536, Convert.ToHexStringLower(_digest)), await new InstancesClient(_gateway.Http).GetLayer(_layer, Stop));

        var answer = await _gateway.Http.GetStringAsync(new Uri($"{Local}/library/layers/{_layer}", UriKind.Relative), Stop);
        Assert.DoesNotContain("/layers/", answer, StringComparison.Ordinal);
        Assert.DoesNotContain(FakeDatacenter.Secret, answer, StringComparison.Ordinal);
    }

    [Theory, InlineData(""), InlineData("/content"), InlineData("/content/extents")]
    public async Task Get_ALayerThatIsNotThere_IsNotFound(string what)
    {
        using var response = await _gateway.Http.Get($"/library/layers/{LayerId.New()}{what}");

        await response.AssertProblem(404, "layer-not-found");
    }

    [Fact]
    public async Task GetContent_OfRanges_PassesThemOnAndDescribesThePieces()
    {
        string? asked = null;
        Script(async context =>
        {
            asked = context.Request.Headers.Range;
            context.Response.StatusCode = 206;
            context.Response.ContentType = "multipart/byteranges; boundary=layer";
            context.Response.ContentLength = 3;
            await context.Response.Body.WriteAsync(new byte[] { 1, 2, 3 });
        });

        using var response = await Get("bytes=0-9,20-29");

        Assert.Equal("bytes=0-9,20-29", asked);
        Assert.Equal((HttpStatusCode.PartialContent, 3L, "multipart/byteranges; boundary=layer"), (response.StatusCode, response.Content.Headers.ContentLength, $"{response.Content.Headers.ContentType}"));
        Assert.Equal(DigestedBody.Format(_digest), response.Headers.GetValues("Repr-Digest").Single());
        Assert.Equal([1, 2, 3], await response.Content.ReadAsByteArrayAsync(Stop));
    }

    [Fact]
    public async Task GetContent_OfALayerThatWasNeverRead_HasNoDigest()
    {
        _gateway.Datacenter.LayerDigests[_layer] = null;
        Script(context =>
        {
            context.Response.StatusCode = 206;
            context.Response.Headers.ContentRange = "bytes 5-5/65536";
            return context.Response.Body.WriteAsync(new byte[1]).AsTask();
        });

        using var response = await Get("bytes=5-5");

        Assert.False(response.Headers.Contains("Repr-Digest"));
        Assert.Equal(new ContentRangeHeaderValue(5, 5, 65_536), response.Content.Headers.ContentRange);
    }

    /// <summary>The data plane sends a piece only when the client has the previous one: nothing waits for the whole layer, and nothing is stored.</summary>
    [Fact]
    public async Task GetContent_OfALargeRange_IsNotBuffered()
    {
        const int Pieces = 16;
        using var received = new SemaphoreSlim(0);
        var isInTime = true;
        Script(async context =>
        {
            context.Response.StatusCode = 206;
            for (var piece = 0; piece < Pieces; piece++)
            {
                await context.Response.Body.WriteAsync(new byte[MiB]);
                isInTime &= await received.WaitAsync(Gateway.Bound);
            }
        });

        using var response = await Get("bytes=0-16777215");

        await using var stream = await response.Content.ReadAsStreamAsync(Stop);
        var (buffer, bytes) = (new byte[MiB], 0L);
        for (int read; (read = await stream.ReadAsync(buffer, Stop)) > 0; bytes += read)
            for (var piece = bytes / MiB; piece < (bytes + read) / MiB; piece++) received.Release();
        Assert.True(isInTime);
        Assert.Equal(Pieces * (long)MiB, bytes);
    }

    [Fact]
    public async Task GetContent_OfRangesThatAreNotServed_SaysWhichAre()
    {
        Script(context =>
        {
            context.Response.StatusCode = 416;
            context.Response.Headers.ContentRange = "bytes */65536";
            return Task.CompletedTask;
        });

        using var response = await Get(range: null);

        await response.AssertProblem(416, "range-not-satisfiable");
        Assert.Equal(65_536, response.Content.Headers.ContentRange!.Length);
    }

    [Fact]
    public async Task GetContent_RefusedByTheDataPlane_PassesItsWordsOn()
    {
        Script(context => FakeDataPlane.Refusal(404, "layer-missing").ExecuteAsync(context));

        using var response = await Get("bytes=0-0");

        await response.AssertProblem(404, "layer-missing");
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task GetContent_WhoseDataPlaneFails_IsUnavailableOrBreaks(bool hasBegun)
    {
        Script(async context =>
        {
            context.Response.StatusCode = 206;
            context.Response.ContentLength = 2 * MiB;
            if (hasBegun) await context.Response.Body.WriteAsync(new byte[MiB]);
            context.Abort();
        });

        if (hasBegun)
        {
            using var broken = await Get("bytes=0-2097151");
            await Assert.ThrowsAnyAsync<HttpRequestException>(() => broken.Content.ReadAsByteArrayAsync(Stop));
            return;
        }

        using var response = await Get("bytes=0-2097151");
        await response.AssertProblem(503, "data-plane-unavailable");
        Assert.False(response.Headers.Contains("Repr-Digest"));
    }

    [Fact]
    public async Task GetContent_WhoseDataPlaneFallsSilent_BreaksTheConnection()
    {
        await using var app = await _gateway.Start(services => services.AddSingleton(new LayerRelay(NullLogger<LayerRelay>.Instance) { SilenceBound = TimeSpan.FromMilliseconds(300) }));
        using var http = Gateway.ClientOf(app);
        var gone = new TaskCompletionSource();
        Script(async context =>
        {
            context.Response.StatusCode = 206;
            await context.Response.Body.WriteAsync(new byte[MiB]);
            context.RequestAborted.Register(gone.SetResult);
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        });

        using var response = await http.GetAsync(Content, HttpCompletionOption.ResponseHeadersRead, Stop);

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => response.Content.ReadAsByteArrayAsync(Stop));
        await gone.Task.WaitAsync(Gateway.Bound, Stop);
    }

    [Theory]
    [InlineData("", "?from=0")]
    [InlineData("?from=4096", "?from=4096")]
    public async Task GetExtents_FromAPlace_PassesItOn(string query, string expected)
    {
        string? asked = null;
        Script(context =>
        {
            asked = $"{context.Request.RouteValues["what"]}{context.Request.QueryString}";
            return context.Response.WriteAsJsonAsync(new { Data = (long[])[4096, 8192], Next = (long?)null }, InstancesJson.Options);
        });

        var extents = await (await _gateway.Http.Get($"/library/layers/{_layer}/content/extents{query}")).Read<LayerExtentsView>();

        Assert.Equal($"extents{expected}", asked);
        Assert.Equal([4096, 8192], extents.Data);
        Assert.Null(extents.Next);
    }

    [Fact]
    public async Task GetExtents_FromNoPlace_IsRefused()
    {
        using var response = await _gateway.Http.Get($"/library/layers/{_layer}/content/extents?from=-1");

        await response.AssertProblem(422, "from-invalid");
    }

    private async Task<HttpResponseMessage> Get(string? range)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, Content);
        if (range is not null) request.Headers.TryAddWithoutValidation("Range", range);
        return await _gateway.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Stop);
    }

    private void Script(Func<HttpContext, Task> answer) => _gateway.DataPlane.Layers[$"{_layer}"] = answer;
}

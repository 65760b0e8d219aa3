using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Instances.Client;
using Instances.Fakes;
using Instances.Faults;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Library;

public sealed class ExportEndpointTests : IDisposable
{
    private const int MiB = 1 << 20;

    private readonly Gateway _gateway;
    private readonly string _name = Guid.NewGuid().ToString();
    private readonly ImageId _image = ImageId.New();
    private readonly InstancesClient _client;

    public ExportEndpointTests(Gateway gateway)
    {
        _gateway = gateway;
        _client = new(gateway.Http);
        gateway.Datacenter.Images[_image] = (new(_name, null, false, null), 1);
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _gateway.DataPlane.Exports.TryRemove(_name, out _);

    /// <summary>The data plane creates a piece only when the client has the previous one: nothing waits for the whole export, and nothing is stored.</summary>
    [Fact]
    public async Task Export_LargeImage_StreamsInBoundedMemory()
    {
        const int Pieces = 200;
        using var received = new SemaphoreSlim(0);
        var isInTime = true;
        Script(async (_, body) =>
        {
            var bytes = new byte[MiB];
            for (var piece = 0; piece < Pieces; piece++)
            {
                await body.WriteAsync(bytes);
                isInTime &= await received.WaitAsync(Gateway.Bound);
            }
        });
        var before = GC.GetTotalMemory(forceFullCollection: true);

        using var response = await Get("");

        await using var stream = await response.Content.ReadAsStreamAsync(Stop);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var (buffer, bytes, peak) = (new byte[MiB], 0L, 0L);
        for (int read; (read = await stream.ReadAsync(buffer, Stop)) > 0;)
        {
            for (var piece = bytes / MiB; piece < (bytes + read) / MiB; piece++) received.Release();
            bytes += read;
            hash.AppendData(buffer, 0, read);
            peak = Math.Max(peak, GC.GetTotalMemory(forceFullCollection: false));
        }

        Assert.True(isInTime);
        Assert.Equal(Pieces * (long)MiB, bytes);
        Assert.InRange(peak - before, long.MinValue, 100L * MiB);
        Assert.Equal(DigestedBody.Format(hash.GetHashAndReset()), response.TrailingHeaders.GetValues("Repr-Digest").Single());
    }

    [Theory]
    [InlineData("", "?format=Qcow2")]
    [InlineData("?format=vmdk", "?format=Vmdk")]
    [InlineData("?format=raw&compression=zstd", "?format=Raw&compression=Zstd")]
    public async Task Export_WhatIsAsked_IsPassedOnAndDescribed(string query, string expected)
    {
        string? asked = null;
        Script((context, body) =>
        {
            asked = context.Request.QueryString.Value;
            context.Response.ContentType = "application/zstd";
            context.Response.Headers.ContentDisposition = "attachment; filename*=UTF-8''k%C3%A4se.raw";
            context.Response.Headers["Export-Length"] = "3";
            return body.WriteAsync(new byte[3]).AsTask();
        });

        using var response = await Get(query);

        Assert.Equal(expected, asked);
        Assert.Equal(("application/zstd", "käse.raw"), (response.Content.Headers.ContentType!.MediaType, response.Content.Headers.ContentDisposition!.FileNameStar));
        Assert.Equal(("3", "Repr-Digest"), (response.Headers.GetValues("Export-Length").Single(), response.Headers.Trailer.Single()));
        Assert.True(response.Headers.CacheControl!.NoStore);
        Assert.Equal(3, (await response.Content.ReadAsByteArrayAsync(Stop)).Length);
    }

    [Fact]
    public async Task Head_IsAskedOfTheDataPlane()
    {
        _gateway.DataPlane.Exports[_name] = context =>
        {
            Assert.Equal("HEAD", context.Request.Method);
            context.Response.Headers.ContentDisposition = "attachment; filename=x.raw";
            context.Response.Headers["Export-Length"] = "12345";
            return Task.CompletedTask;
        };

        Assert.Equal(("x.raw", 12345), await _client.DescribeExport(_image, ExportFormat.Raw, compression: null, Stop));
    }

    [Theory, InlineData("format=iso"), InlineData("format=1"), InlineData("compression=gzip")]
    public async Task Export_FormatThatIsNone_IsMalformed(string query)
    {
        using var response = await Get($"?{query}");

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Export_OfAnImageThatIsNotReady_SaysWhy()
    {
        var image = ImageId.New();
        _gateway.Datacenter.Failures[image.Value] = FaultException.Conflict("image-not-ready", "The image is Retired and cannot be exported: restore it first.");

        using var response = await _gateway.Http.Get($"/images/{image}/export");

        Assert.Contains("Retired", (await response.AssertProblem(409, "image-not-ready")).GetProperty("detail").GetString(), StringComparison.Ordinal);
        using var missing = await _gateway.Http.Get($"/images/{ImageId.New()}/export");
        await missing.AssertProblem(404, "image-not-found");
    }

    [Fact]
    public async Task Export_RefusedByTheDataPlane_PassesItsWordsOn()
    {
        _gateway.DataPlane.Exports[_name] = context =>
        {
            context.Response.Headers.RetryAfter = "7";
            return FakeDataPlane.Refusal(503, "too-many-exports").ExecuteAsync(context);
        };

        using var response = await Get("");

        var problem = await response.AssertProblem(503, "too-many-exports");
        Assert.Equal(("The data plane says no.", "7"), (problem.GetProperty("detail").GetString(), response.Headers.GetValues("Retry-After").Single()));
    }

    [Fact]
    public async Task Export_WhoseDataPlaneFailsBeforeTheFirstByte_IsUnavailable()
    {
        _gateway.DataPlane.Exports[_name] = context =>
        {
            context.Abort();
            return Task.CompletedTask;
        };

        using var response = await Get("");

        await response.AssertProblem(503, "data-plane-unavailable");
        Assert.Null(response.Content.Headers.ContentDisposition);
    }

    /// <summary>Whatever fails after the first byte, the client sees a broken connection, not a short file.</summary>
    [Theory, InlineData(true), InlineData(false)]
    public async Task Export_ThatBreaksInTheMiddle_BreaksTheConnection(bool isAborted)
    {
        _gateway.DataPlane.Exports[_name] = async context =>
        {
            // An export without a digest is not complete.
            await context.Response.Body.WriteAsync(new byte[MiB]);
            if (isAborted) context.Abort();
        };

        using var response = await Get("");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => response.Content.ReadAsByteArrayAsync(Stop));
        await Assert.ThrowsAnyAsync<IOException>(() => _client.ExportImage(_image, ExportFormat.Raw, compression: null, Stream.Null, Stop));
    }

    [Fact]
    public async Task Export_WhoseDataPlaneFallsSilent_BreaksTheConnection()
    {
        await using var app = await _gateway.Start(services => services.AddSingleton(new ExportClient { SilenceBound = TimeSpan.FromMilliseconds(300) }));
        using var http = Gateway.ClientOf(app);
        var gone = new TaskCompletionSource();
        Script(async (context, body) =>
        {
            await body.WriteAsync(new byte[MiB]);
            context.RequestAborted.Register(gone.SetResult);
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        });

        using var response = await http.GetAsync($"{Local}/images/{_image}/export", HttpCompletionOption.ResponseHeadersRead, Stop);

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => response.Content.ReadAsByteArrayAsync(Stop));
        await gone.Task.WaitAsync(Gateway.Bound, Stop);
    }

    [Fact]
    public async Task Export_WhoseCallerLeaves_EndsAtTheDataPlane()
    {
        var gone = new TaskCompletionSource();
        Script(async (context, body) =>
        {
            context.RequestAborted.Register(() => gone.TrySetResult());
            while (!context.RequestAborted.IsCancellationRequested) await body.WriteAsync(new byte[MiB], context.RequestAborted);
        });

        using (await Get("")) await Task.Yield();

        await gone.Task.WaitAsync(Gateway.Bound, Stop);
    }

    [Fact]
    public async Task Export_OverHttp2_HasItsTrailerOrBreaks()
    {
        await using var app = await _gateway.Start(services =>
            services.Configure<KestrelServerOptions>(kestrel => kestrel.ConfigureEndpointDefaults(endpoint => endpoint.Protocols = HttpProtocols.Http2)));
        using var http = Gateway.ClientOf(app);
        (http.DefaultRequestVersion, http.DefaultVersionPolicy) = (HttpVersion.Version20, HttpVersionPolicy.RequestVersionExact);
        var isWhole = true;
        Script(async (context, body) =>
        {
            await body.WriteAsync(new byte[3 * MiB]);
            if (!isWhole) context.Abort();
        });

        using var whole = await http.GetAsync($"{Local}/images/{_image}/export", Stop);
        var digest = DigestedBody.Format(SHA256.HashData(await whole.Content.ReadAsByteArrayAsync(Stop)));
        Assert.Equal((HttpVersion.Version20, digest), (whole.Version, whole.TrailingHeaders.GetValues("Repr-Digest").Single()));

        isWhole = false;
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => http.GetAsync($"{Local}/images/{_image}/export", Stop));
    }

    [Fact]
    public async Task Export_OverHttp10_IsRefused()
    {
        Script((_, body) => body.WriteAsync(new byte[3]).AsTask());
        using var socket = new TcpClient();
        await socket.ConnectAsync("127.0.0.1", _gateway.Http.BaseAddress!.Port, Stop);
        await using var stream = socket.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"GET {Local}/images/{_image}/export HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"), Stop);

        var answer = await new StreamReader(stream).ReadToEndAsync(Stop);

        Assert.Contains(" 505 ", answer, StringComparison.Ordinal);
        Assert.Contains("http-version-unsupported", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Client_Export_IsWrittenAndChecked()
    {
        var bytes = RandomNumberGenerator.GetBytes(3 * MiB);
        var attempts = 0;
        _gateway.DataPlane.Exports[_name] = async context =>
        {
            if (++attempts == 1)
            {
                await FakeDataPlane.Refusal(503, "too-many-exports").ExecuteAsync(context);
                return;
            }

            context.Response.Headers.ContentDisposition = "attachment; filename*=UTF-8''k%C3%A4se.raw";
            await Whole(context, bytes, bytes);
        };
        using var target = new MemoryStream();

        var file = await _client.ExportImage(_image, ExportFormat.Raw, compression: null, target, Stop);

        Assert.Equal(new ExportedFile("käse.raw", bytes.Length, Convert.ToHexStringLower(SHA256.HashData(bytes))), file);
        Assert.Equal(bytes, target.ToArray());
        Assert.Equal(2, attempts);
    }

    [Fact]
    public async Task Client_ExportOfAnotherDigest_IsRefused()
    {
        _gateway.DataPlane.Exports[_name] = context => Whole(context, new byte[1000], new byte[999]);

        await Assert.ThrowsAsync<InvalidDataException>(() => _client.ExportImage(_image, ExportFormat.Raw, compression: null, Stream.Null, Stop));
    }

    private Task<HttpResponseMessage> Get(string query) => _gateway.Http.GetAsync($"{Local}/images/{_image}/export{query}", HttpCompletionOption.ResponseHeadersRead, Stop);

    /// <summary>Sends the script's output, followed by its digest.</summary>
    private void Script(Func<HttpContext, Stream, Task> write) => _gateway.DataPlane.Exports[_name] = async context =>
    {
        var pieces = new Hashed(context.Response);
        await write(context, pieces);
        await pieces.Complete();
    };

    private static async Task Whole(HttpContext context, byte[] bytes, byte[] digested)
    {
        var body = new DigestedBody(context.Response);
        await body.WriteAsync(bytes);
        await body.Complete(DigestedBody.Format(SHA256.HashData(digested)), context.RequestAborted);
    }

    /// <summary>Begins the answer with the first piece. Its headers can be changed until then.</summary>
    private sealed class Hashed(HttpResponse response) : WriteOnlyStream
    {
        private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        private DigestedBody? _body;

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _hash.AppendData(buffer.Span);
            return (_body ??= new DigestedBody(response)).WriteAsync(buffer, cancellationToken);
        }

        public Task Complete() => _body!.Complete(DigestedBody.Format(_hash.GetHashAndReset()), default);
    }
}

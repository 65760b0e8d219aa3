using System.Net;
using System.Text;
using Instances.Client;
using Instances.Fakes;
using Instances.Operations;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Library;

public sealed class UploadEndpointTests(Gateway gateway)
{
    private readonly string _name = Guid.NewGuid().ToString();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Upload_AsTusSaysIt_IsBegunSentSeenAndCancelled()
    {
        using var created = await Tus(HttpMethod.Post, $"{Local}/images/uploads", ("Upload-Length", "1000"), ("Upload-Metadata", Metadata));
        Assert.Equal((HttpStatusCode.Created, "1.0.0"), (created.StatusCode, created.Headers.GetValues("Tus-Resumable").Single()));
        var operation = await created.Read<OperationView>();
        var url = created.Headers.Location!.OriginalString;
        Assert.Equal((operation.Id, new ImportCommand(_name, ImageFormat.Raw, 1000)), gateway.Datacenter.Imports[operation.Image!.Value]);

        using var part = await Part(url, 0, 400);
        Assert.All([created, part], answer => Assert.NotEmpty(answer.Headers.GetValues("Upload-Expires")));
        Assert.Equal((HttpStatusCode.NoContent, "400"), (part.StatusCode, part.Headers.GetValues("Upload-Offset").Single()));
        using var gap = await Part(url, 500, 100);
        await gap.AssertProblem(409, "upload-mismatch");
        using var head = await Tus(HttpMethod.Head, url);
        Assert.Equal(("400", "1000"), (head.Headers.GetValues("Upload-Offset").Single(), head.Headers.GetValues("Upload-Length").Single()));
        Assert.True(head.Headers.CacheControl!.NoStore);

        using var deleted = await Tus(HttpMethod.Delete, url);
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        using var gone = await Tus(HttpMethod.Head, url);
        Assert.Equal((HttpStatusCode.NotFound, "1.0.0"), (gone.StatusCode, gone.Headers.GetValues("Tus-Resumable").Single()));
    }

    [Fact]
    public async Task Part_WhoseDataPlaneIsBusy_SaysWhenToRepeatIt()
    {
        var metadata = $"name {Convert.ToBase64String(Encoding.UTF8.GetBytes(FakeDataPlane.Busy + _name))},format cmF3";
        using var created = await Tus(HttpMethod.Post, $"{Local}/images/uploads", ("Upload-Length", "1000"), ("Upload-Metadata", metadata));

        using var part = await Part(created.Headers.Location!.OriginalString, 0, 400);

        await part.AssertProblem(503, "too-many-uploads");
        Assert.Equal("7", part.Headers.GetValues("Retry-After").Single());
    }

    [Fact]
    public async Task Capabilities_NameTheLargestUpload()
    {
        using var response = await Tus(HttpMethod.Options, $"{Local}/images/uploads");

        Assert.Equal("1048576", response.Headers.GetValues("Tus-Max-Size").Single());
    }

    [Theory]
    [InlineData("format cmF3", "upload-metadata-invalid")]
    [InlineData("name eA==,format eA==", "upload-metadata-invalid")]
    [InlineData("name eA==,enterprise eA==", "upload-metadata-invalid")]
    [InlineData("name !", "upload-metadata-invalid")]
    [InlineData("name /w==,format cmF3", "upload-metadata-invalid")]
    [InlineData("name eA==,name eA==,format cmF3", "upload-metadata-invalid")]
    [InlineData("name eA==,format cmF3,sha256 eA==", "sha256-invalid")]
    public async Task Create_MetadataThatIsNone_IsInvalid(string metadata, string code)
    {
        using var response = await Tus(HttpMethod.Post, $"{Local}/images/uploads", ("Upload-Length", "1000"), ("Upload-Metadata", metadata));

        await response.AssertProblem(422, code);
    }

    [Fact]
    public async Task Request_OfAnotherVersion_IsRefusedAndToldWhich()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Local}/images/uploads") { Headers = { { "Tus-Resumable", "0.2.2" } } };
        using var response = await gateway.Http.SendAsync(request, Stop);

        await response.AssertProblem(412, "tus-version-unsupported");
        Assert.Equal("1.0.0", response.Headers.GetValues("Tus-Version").Single());
    }

    [Fact]
    public async Task FromPath_File_IsPassedOn()
    {
        using var response = await gateway.Http.Post("/images/from-path", $$"""{"name":"{{_name}}","path":"/srv/images/x.raw","format":"raw"}""");

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal("/srv/images/x.raw", gateway.Datacenter.Paths[(await response.Read<OperationView>()).Image!.Value]);
    }

    [Theory]
    [InlineData("{}", null)]
    [InlineData("""{"name":"gold"}""", "gold")]
    public async Task Promote_MakesANewImage(string body, string? name)
    {
        var source = ImageId.New();
        using var response = await gateway.Http.Post($"/images/{source}/promote", body);

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        var operation = await response.Read<OperationView>();
        Assert.Equal(OperationKind.Promote, operation.Kind);
        Assert.NotEqual(source, operation.Image);
        Assert.Equal((source, name), gateway.Datacenter.Promotions[operation.Image!.Value]);
    }

    /// <summary>The stream fails in the middle of a part, as a connection does.</summary>
    [Fact]
    public async Task Client_WhosePartBreaksOff_GoesOnWhereItWas()
    {
        var bytes = new BreakingStream(new byte[3 << 20], breakAt: 2 << 20);

        var operation = await new InstancesClient(gateway.Http).UploadImage(_name, ImageFormat.Raw, bytes, sha256: null, Stop);

        Assert.True(bytes.HasBroken);
        Assert.Equal(3 << 20, gateway.Datacenter.Offsets[_name]);
        Assert.Equal(_name, gateway.Datacenter.Imports[operation.Image!.Value].Command.Name);
    }

    private string Metadata => $"name {Convert.ToBase64String(Encoding.UTF8.GetBytes(_name))},format cmF3,filetype";

    private Task<HttpResponseMessage> Part(string url, long offset, int bytes)
    {
        var request = new HttpRequestMessage(HttpMethod.Patch, url) { Content = new ByteArrayContent(new byte[bytes]) };
        request.Content.Headers.ContentType = new("application/offset+octet-stream");
        request.Headers.Add("Upload-Offset", $"{offset}");
        request.Headers.Add("Tus-Resumable", "1.0.0");
        return gateway.Http.SendAsync(request, Stop);
    }

    private Task<HttpResponseMessage> Tus(HttpMethod method, string url, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, url) { Headers = { { "Tus-Resumable", "1.0.0" } } };
        foreach (var (name, value) in headers) request.Headers.Add(name, value);
        return gateway.Http.SendAsync(request, Stop);
    }

    private sealed class BreakingStream(byte[] bytes, long breakAt) : MemoryStream(bytes)
    {
        public bool HasBroken { get; private set; }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (HasBroken || Position < breakAt) return base.ReadAsync(buffer, cancellationToken);
            HasBroken = true;
            throw new IOException("The connection was reset.");
        }
    }
}

using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Instances.Faults;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Library.Transfer;

/// <summary>A corrupt layer and other datacenters, over HTTP: a datacenter with a good copy repairs it. Whatever another one answers, the layer is unchanged and the next one repairs it.</summary>
public sealed class LayerPeerTests : IAsyncLifetime
{
    private const long Length = 8L << 20;
    private const int Page = 4096;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly string _folder = Testing.MemoryFolder.Create("peers-");
    private readonly TestLibrary _tools = new();
    private PeerNode _peer = null!;
    private FolderLibraryStore _store = null!;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _peer = await PeerNode.Start(Path.Combine(_folder, "west"));
        _store = Open("east", minimumFreeBytes: 0);
    }

    public async ValueTask DisposeAsync()
    {
        await _peer.DisposeAsync();
        _tools.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Heal_FromADatacenterThatHasAGoodCopy_PutsItInThePlaceOfTheLayer()
    {
        var (layer, sha256) = await Corrupted();

        Assert.True(await Heal(layer));

        AssertHealed(layer, sha256);
        Assert.Equal($"{_peer.Url}", _store.FindCheck(layer)!.HealedFrom);
        Assert.Equal(_peer.Store.BytesOf(layer), _store.BytesOf(layer));
    }

    /// <summary>A machine that is powered on meanwhile finds it.</summary>
    [Fact]
    public async Task Heal_WhileItRuns_LeavesTheLayerWhereItIs()
    {
        var (layer, sha256) = await Corrupted();
        var wasThere = false;
        Before("content", _ => wasThere = _store.IsSealed(layer) && _store.FindCheck(layer) is { IsCorrupt: true });

        Assert.True(await Heal(layer));

        Assert.True(wasThere);
        AssertHealed(layer, sha256);
    }

    public static TheoryData<string> BadPeers => [.. Behaviours.Keys];

    [Theory, MemberData(nameof(BadPeers))]
    public async Task Heal_FromADatacenterThatDoesNotGiveIt_LeavesTheLayerAsItIsAndTheNextOneHealsIt(string behaviour)
    {
        var (layer, sha256) = await Corrupted();
        var before = LayerPullTests.Digest(_store, layer);
        var (script, expected) = Behaviours[behaviour];
        script(_peer);
        var clock = System.Diagnostics.Stopwatch.StartNew();

        var outcome = await Outcome(layer);

        Assert.Equal(expected, outcome);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, Testing.Bounds.Wait);
        Assert.Equal(before, LayerPullTests.Digest(_store, layer));
        Assert.True(_store.FindCheck(layer)!.IsCorrupt);
        AssertNothingIsLeft();

        await using var next = await PeerNode.Start(Path.Combine(_folder, "south"));
        Copy(_peer.Store.PathOf(layer), next.Store.PathOf(layer));
        Assert.True(await Heal(layer, next.Url));
        AssertHealed(layer, sha256);
    }

    /// <summary>The behaviour of each datacenter, and the result: the code of a fault, or that the copy is wrong.</summary>
    private static readonly Dictionary<string, (Action<PeerNode> Script, string Expected)> Behaviours = new()
    {
        ["sends other bytes"] = (peer => Before(peer, "content", context => context.Response.Body = new Flipping(context.Response.Body)), "no copy"),
        ["sends other bytes and breaks off"] = (peer => Before(peer, "content", context => context.Response.Body = new Flipping(context.Response.Body) { BreaksAfter = 3 * Page }), "transfer-failed"),
        ["has another digest by its own account"] = (peer => Describe(peer, view => view with { Sha256 = new('0', 64) }), "no copy"),
        ["says that it is shorter"] = (peer => Describe(peer, view => view with { LengthBytes = Length / 2 }), "transfer-failed"),
        ["says that it is longer"] = (peer => Describe(peer, view => view with { LengthBytes = 2 * Length }), "no copy"),
        ["speaks of another layer"] = (peer => Describe(peer, view => view with { Id = LayerId.New() }), "peer-unavailable"),
        ["has no length"] = (peer => Describe(peer, view => view with { LengthBytes = -1 }), "peer-unavailable"),
        ["describes it without an end"] = (peer => peer.Instead[""] = Endless, "peer-unavailable"),
        ["is no datacenter"] = (peer => peer.Instead[""] = (_, context) => context.Response.WriteAsync("<html>welcome</html>"), "peer-unavailable"),
        ["does not know the datacenter"] = (peer => peer.Instead[""] = (_, context) => Problem(context, 404, "datacenter-not-found"), "peer-unavailable"),
        ["does not have it"] = (peer => peer.Instead[""] = (_, context) => Problem(context, 404, "layer-not-found"), "peer-has-none"),
        ["knows that it is corrupt there"] = (peer => peer.Instead[""] = (_, context) => Problem(context, 409, "layer-not-sound"), "peer-has-none"),
        ["loses it meanwhile"] = (peer => peer.Instead["extents"] = (_, context) => Problem(context, 404, "layer-not-found"), "layer-missing"),
        ["says that it was forbidden"] = (peer => peer.Instead["content"] = (_, context) => Problem(context, 403, "ticket-invalid"), "transfer-failed"),
        ["hangs before its extents"] = (peer => peer.Instead["extents"] = Hang, "transfer-failed"),
        ["hangs before its bytes"] = (peer => peer.Instead["content"] = Hang, "transfer-failed"),
        ["drips"] = (peer => peer.Instead["content"] = Drip, "transfer-failed"),
        ["sends too little"] = (peer => peer.Instead["content"] = (_, context) => Piece(context, new byte[Page]), "transfer-failed"),
        ["sends more than was asked for"] = (
            peer =>
            {
                Extents(peer, [0, Length], next: null);
                peer.Instead["content"] = EndlessPiece;
            },
            "no copy"),
        ["sends other ranges than was asked for"] = (peer => peer.Instead["content"] = EndlessPiece, "transfer-failed"),
        ["sends extents without an end"] = (peer => peer.Instead["extents"] = Endless, "transfer-failed"),
        ["sends extents that are no list"] = (peer => peer.Instead["extents"] = (_, context) => context.Response.WriteAsync("{\"data\":null}"), "transfer-failed"),
        ["sends extents that lie behind the end"] = (peer => Extents(peer, [Length - 1, 2], next: null), "transfer-failed"),
        ["sends extents of no length"] = (peer => Extents(peer, [0, 0], next: null), "transfer-failed"),
        ["sends extents whose end no number holds"] = (peer => Extents(peer, [1, long.MaxValue], next: null), "transfer-failed"),
        ["sends extents out of order"] = (peer => Extents(peer, [2 * Page, Page, 0, Page], next: null), "transfer-failed"),
        ["leads back"] = (peer => Extents(peer, [0, Page], next: 0), "transfer-failed"),
        ["leads nowhere"] = (peer => Extents(peer, [], next: 0), "transfer-failed"),
        ["names it by a number"] = (peer => peer.Instead[""] = (_, context) => context.Response.WriteAsync("{\"id\":5,\"bytes\":1,\"lengthBytes\":1}"), "peer-unavailable"),
        ["describes it in no JSON that is read"] = (peer => peer.Instead[""] = (_, context) => context.Response.WriteAsync(new string('[', 60_000)), "peer-unavailable"),
        ["describes it in broken letters"] = (peer => peer.Instead[""] = (_, context) => context.Response.Body.WriteAsync((byte[])[.. "{\"id\":\""u8, 0xFF, .. "\"}"u8]).AsTask(), "peer-unavailable"),
        ["leads elsewhere"] = (peer => peer.Instead[""] = Redirect, "peer-unavailable"),
        ["leads elsewhere for its bytes"] = (peer => peer.Instead["content"] = Redirect, "transfer-failed"),
        ["compresses its bytes"] = (
            peer =>
            {
                Extents(peer, [0, Length], next: null);
                peer.Instead["content"] = Compressed;
            },
            "no copy"),
        ["sends extents in words"] = (peer => peer.Instead["extents"] = (_, context) => context.Response.WriteAsync("{\"data\":[\"0\",{}]}"), "transfer-failed"),
        ["has holes alone"] = (peer => Extents(peer, [], next: null), "no copy"),
    };

    [Fact]
    public async Task Heal_FromADatacenterThatIsAway_SaysSo()
    {
        var (layer, _) = await Corrupted();
        var gone = new Uri("http://127.0.0.1:9/api/v1/datacenters/west");

        Assert.Equal("peer-unavailable", (await Assert.ThrowsAsync<FaultException>(() => Heal(layer, gone))).Fault.Code);

        AssertNothingIsLeft();
    }

    /// <summary>It announced a small size, so that the offer was not refused.</summary>
    [Fact]
    public async Task Heal_FromADatacenterThatSendsMoreThanItHasSaid_LeavesTheSpaceThatHasToStayFree()
    {
        const long Disk = 192L << 20;
        var memory = Testing.MemoryFolder.Create("peers-");
        TestLibrary.Run("mount", "-t", "tmpfs", "-o", $"size={Disk}", "tmpfs", memory);
        try
        {
            _store = Open(memory, minimumFreeBytes: Disk / 2);
            var (layer, _) = await Corrupted();
            Describe(_peer, view => view with { Bytes = 1, LengthBytes = Disk });
            Extents(_peer, [0, Disk], next: null);
            _peer.Instead["content"] = EndlessPiece;

            Assert.Equal("no-space", await Outcome(layer));

            Assert.True(_store.FindCheck(layer)!.IsCorrupt);
            AssertNothingIsLeft();
        }
        finally
        {
            TestLibrary.Run("umount", memory);
            Directory.Delete(memory);
        }
    }

    private FolderLibraryStore Open(string folder, long minimumFreeBytes)
    {
        var options = new LayerStoreOptions { MinimumFreeBytes = minimumFreeBytes, SilenceBound = TimeSpan.FromSeconds(1) };
        return new(Path.Combine(_folder, folder), options, _tools.Tools, TestTransfers.Over(options), NullLogger<FolderLibraryStore>.Instance) { HealingPatience = Patience };
    }

    private Task<bool> Heal(LayerId layer) => Heal(layer, _peer.Url);

    private async Task<bool> Heal(LayerId layer, Uri peer)
    {
        using var peers = new LibraryPeers(Options.Create(new LibraryOptions { Peers = [new() { Url = $"{peer}/" }] }), TimeProvider.System);
        return await _store.Heal(layer, $"{peer}", () => peers.Offer(Assert.Single(peers.All), layer, Stop), Stop);
    }

    private async Task<string> Outcome(LayerId layer)
    {
        try
        {
            return await Heal(layer) ? "healed" : "no copy";
        }
        catch (FaultException exception)
        {
            return exception.Fault.Code;
        }
    }

    /// <summary>A layer that the other datacenter has as it was here, and in which a byte has flipped since.</summary>
    private async Task<(LayerId Layer, string Sha256)> Corrupted()
    {
        // Data, a hole, data, a hole.
        var layer = LayerId.New();
        var path = _peer.Store.PathOf(layer);
        using (var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
        {
            RandomAccess.SetLength(file, Length);
            foreach (var place in (long[])[0, Length / 2]) RandomAccess.Write(file, RandomNumberGenerator.GetBytes(16 * Page), place);
        }

        await _peer.Store.Seal(layer);
        var bytes = await File.ReadAllBytesAsync(path, Stop);
        await File.WriteAllBytesAsync(_store.PathOf(layer), bytes, Stop);
        await _store.Seal(layer);
        var sound = await _store.Check(layer, expected: null, long.MaxValue, Stop);
        bytes[5 * Page] ^= 1;
        File.Delete(_store.PathOf(layer));
        await File.WriteAllBytesAsync(_store.PathOf(layer), bytes, Stop);
        await _store.Seal(layer);
        Assert.True((await _store.Check(layer, expected: null, long.MaxValue, Stop)).IsCorrupt);
        return (layer, sound.Sha256!);
    }

    private static void Copy(string from, string to)
    {
        File.Copy(from, to);
        File.SetUnixFileMode(to, UnixFiles.SealedMode);
    }

    private void AssertHealed(LayerId layer, string sha256)
    {
        Assert.Equal(sha256, LayerPullTests.Digest(_store, layer));
        Assert.True(_store.IsSealed(layer));
        Assert.False(_store.FindCheck(layer)!.IsCorrupt);
        AssertNothingIsLeft();
    }

    private void AssertNothingIsLeft() => Assert.Empty(Directory.GetFiles(_store.Incoming, "*", SearchOption.AllDirectories));

    private void Before(string what, Action<HttpContext> look) => Before(_peer, what, look);

    private static void Before(PeerNode peer, string what, Action<HttpContext> change) => peer.Changed[what] = change;

    private static void Describe(PeerNode peer, Func<LayerView, LayerView> change) =>
        peer.Instead[""] = (layer, context) => context.Response.WriteAsJsonAsync(change(peer.View(layer)), InstancesJson.Options);

    private static void Extents(PeerNode peer, long[] data, long? next) =>
        peer.Instead["extents"] = (_, context) => context.Response.WriteAsJsonAsync(new LayerExtents(data, next), InstancesJson.Options);

    private static Task Problem(HttpContext context, int status, string code)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsJsonAsync(new { code, status }, InstancesJson.Options);
    }

    private static Task Hang(LayerId layer, HttpContext context) => Task.Delay(Timeout.InfiniteTimeSpan, context.RequestAborted);

    private static async Task Endless(LayerId layer, HttpContext context)
    {
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync("{\"data\":[0");
        for (var zeros = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(",0", 32 << 10))); !context.RequestAborted.IsCancellationRequested;)
            await context.Response.Body.WriteAsync(zeros, context.RequestAborted);
    }

    /// <summary>Pretends to send everything that was requested.</summary>
    private static Task Piece(HttpContext context, byte[] bytes)
    {
        Begin(context);
        return context.Response.Body.WriteAsync(bytes).AsTask();
    }

    private static Task Redirect(LayerId layer, HttpContext context)
    {
        context.Response.Redirect("http://127.0.0.1:9/");
        return Task.CompletedTask;
    }

    /// <summary>Gibibytes of zeros, in as many bytes as were asked for and more.</summary>
    private static async Task Compressed(LayerId layer, HttpContext context)
    {
        Begin(context);
        context.Response.Headers.ContentEncoding = "gzip";
        await using var gzip = new System.IO.Compression.GZipStream(context.Response.Body, System.IO.Compression.CompressionLevel.Fastest, leaveOpen: true);
        for (var mebibytes = 0; mebibytes < 4096; mebibytes++) await gzip.WriteAsync(new byte[1 << 20], context.RequestAborted);
    }

    private static async Task EndlessPiece(LayerId layer, HttpContext context)
    {
        Begin(context);
        for (var bytes = new byte[64 << 10]; !context.RequestAborted.IsCancellationRequested;) await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
    }

    /// <summary>Often enough that it never counts as silent.</summary>
    private static async Task Drip(LayerId layer, HttpContext context)
    {
        Begin(context);
        for (; !context.RequestAborted.IsCancellationRequested; await Task.Delay(100, context.RequestAborted)) await context.Response.Body.WriteAsync(new byte[1], context.RequestAborted);
    }

    private static void Begin(HttpContext context)
    {
        var asked = RangeHeaderValue.Parse(context.Request.Headers.Range!).Ranges;
        context.Response.StatusCode = 206;
        if (asked.Count == 1) context.Response.Headers.ContentRange = new ContentRangeHeaderValue(asked.Single().From!.Value, asked.Single().To!.Value).ToString();
        else context.Response.ContentType = "multipart/byteranges; boundary=x";
    }

    /// <summary>Changes every byte in the middle of what is written.</summary>
    private sealed class Flipping(Stream to) : WriteOnlyStream
    {
        private long _written;

        /// <summary>Sends this number of bytes, and then nothing more.</summary>
        public long BreaksAfter { get; init; } = long.MaxValue;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var bytes = buffer.ToArray();
            bytes[bytes.Length / 2] ^= 1;
            var sent = (int)Math.Min(bytes.Length, BreaksAfter - _written);
            await to.WriteAsync(bytes.AsMemory(0, sent), cancellationToken);
            await to.FlushAsync(cancellationToken);
            _written += sent;
            if (sent < bytes.Length) throw new IOException("It breaks off.");
        }
    }
}

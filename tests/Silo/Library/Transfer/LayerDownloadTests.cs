using System.Net;
using System.Net.Http.Headers;
using Instances.Faults;
using Instances.Testing;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Library.Transfer;

/// <summary>Transfers of layers over HTTP. The test counts the bytes on the wire, and cuts connections.</summary>
public sealed class LayerDownloadTests : IAsyncLifetime
{
    /// <summary>Bytes on the wire, heads and requests included, for each byte that the layer takes.</summary>
    private const double Allowance = 1.05;

    /// <summary>Bytes that were counted but had not arrived when a connection was cut, because they were in socket buffers.</summary>
    private const long LostBytes = 2L << 20;

    private const long Length = 96L << 20;

    private readonly string _folder = Testing.MemoryFolder.Create("download-");
    private readonly BytePipe _pipe = new();
    private readonly FakeTimeProvider _fromTime = new(TimeProvider.System.GetUtcNow());
    private StoreNode _from = null!;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _from = await StoreNode.Start(Path.Combine(_folder, "from"), _fromTime, ("DataPlane:Address", _pipe.Address));
        _pipe.To = _from.Address;
    }

    public async ValueTask DisposeAsync()
    {
        await _pipe.DisposeAsync();
        await _from.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Download_OfSmallScatteredPieces_MovesLittleMoreThanTheyAre()
    {
        await using var to = await Puller();
        var layer = await Scattered(10_000);

        var done = await to.Pull(_from.Store, layer);

        AssertMoved(layer, to, done);
    }

    [Fact]
    public async Task Download_OfOneLargePiece_MovesLittleMoreThanItIs()
    {
        await using var to = await Puller();
        var layer = await _from.AddLayer(Length, [.. Enumerable.Range(0, 10_000).Select(page => page * 4096L)]);

        AssertMoved(layer, to, await to.Pull(_from.Store, layer));
    }

    [Fact]
    public async Task Download_ThatBreaksInTheMiddle_GoesOnWhereItWas()
    {
        await using var to = await Puller();
        var layer = await Scattered(10_000);
        var broken = _pipe.BreakAfter(_from.Store.BytesOf(layer) / 2);

        var done = await to.Pull(_from.Store, layer);

        Assert.True(broken.IsCompletedSuccessfully);
        AssertMoved(layer, to, done, LostBytes);
    }

    [Fact]
    public async Task Download_WhoseSiloIsRestarted_GoesOnWithWhatHasArrived()
    {
        var layer = await Scattered(10_000);
        await using (var before = await Puller())
        {
            var broken = _pipe.BreakAfter(_from.Store.BytesOf(layer) / 2, staysBroken: true);
            var pull = before.Store.Pull([layer], _ => LayerPullTests.Offers(_from.Store.Offer(layer)));
            await broken;
            await pull;
        }

        _pipe.StaysBroken = false;
        await using var to = await Puller();
        Assert.True(Assert.Single(to.Store.List()) is { IsPartial: true, Bytes: > 0 });

        var done = await to.Pull(_from.Store, layer);

        Assert.InRange(done.Layers[0].BytesMoved, 1, _from.Store.BytesOf(layer) * 3 / 4);
        AssertMoved(layer, to, done with { Layers = [done.Layers[0] with { BytesMoved = Data(layer) }] }, LostBytes);
    }

    [Fact]
    public async Task Download_WithAnotherDigest_IsRefusedAndDeleted()
    {
        await using var to = await Puller();
        var layer = await _from.AddLayer(Length, 0, 1 << 20);

        var fault = await Assert.ThrowsAsync<FaultException>(
            () => to.Pull(wanted => _from.Store.Offer(wanted) with { Sha256 = new('0', 64) }, layer));

        Assert.Equal("layer-corrupt", fault.Fault.Code);
        Assert.Empty(to.Store.List());
    }

    [Fact]
    public async Task Download_OfWhatWasLeftByAnotherLayer_IsRefusedOnceAndThenRight()
    {
        await using var to = await Puller();
        var layer = await _from.AddLayer(Length, 0, 1 << 20);
        await File.WriteAllTextAsync(to.Store.PartPathOf(layer), "content after a power cut", Stop);

        Assert.Equal("layer-corrupt", (await Assert.ThrowsAsync<FaultException>(() => to.Pull(_from.Store, layer))).Fault.Code);
        await to.Pull(_from.Store, layer);

        Assert.Equal(LayerPullTests.Digest(_from.Store, layer), LayerPullTests.Digest(to.Store, layer));
    }

    [Fact]
    public async Task Download_WithATicketThatExpires_AsksForAnotherOffer()
    {
        await using var to = await Puller();
        var layer = await Scattered(1000);
        var stale = _from.Store.Offer(layer);
        _fromTime.Advance(LayerTickets.Lifetime);
        var offers = 0;

        TransferProgress progress;
        do progress = await to.Store.Pull([layer], _ => LayerPullTests.Offers(offers++ == 0 ? stale : _from.Store.Offer(layer)));
        while (!progress.IsDone);

        Assert.Equal(2, offers);
        Assert.Equal(LayerPullTests.Digest(_from.Store, layer), LayerPullTests.Digest(to.Store, layer));
    }

    [Fact]
    public async Task Download_ThatManyAskFor_IsMovedOnce()
    {
        await using var to = await Puller();
        var layer = await Scattered(5000);

        var done = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => to.Pull(_from.Store, layer)));

        // A later caller gets the answer that nothing was moved.
        Assert.Contains(done, progress => progress.Layers[0].BytesMoved == Data(layer));
        Assert.All(done, progress => Assert.True(progress.Layers[0].BytesMoved == Data(layer) || progress.Layers[0].BytesMoved == 0));
        Assert.InRange(_pipe.Bytes, Data(layer), Data(layer) * Allowance);
    }

    [Fact]
    public async Task Download_FromASiloThatIsSilent_IsGivenUpAndTakenUpAgain()
    {
        await using var to = await Puller(("LayerStore:SilenceBound", "00:00:01"));
        var layer = await Scattered(10);
        using var deaf = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        deaf.Start();
        var real = _pipe.To;
        _pipe.To = new($"http://127.0.0.1:{((IPEndPoint)deaf.LocalEndpoint).Port}");

        var pull = to.Pull(_from.Store, layer);
        using var heard = await deaf.AcceptTcpClientAsync(Stop);
        _pipe.To = real;

        Assert.True((await pull).IsDone);
    }

    [Fact]
    public async Task Download_FromASiloThatIsGone_FailsAndSaysSo()
    {
        await using var to = await Puller();
        var layer = await Scattered(10);
        _pipe.StaysBroken = true;

        var fault = (await Assert.ThrowsAsync<FaultException>(() => to.Pull(_from.Store, layer))).Fault;

        Assert.Equal(("transfer-failed", FaultKind.Unavailable), (fault.Code, fault.Kind));
    }

    [Theory]
    [InlineData("")]
    [InlineData("/extents?from=0")]
    [InlineData("/digest")]
    public async Task Endpoint_WithoutAGoodTicket_Refuses(string what)
    {
        var (layer, other) = (await Scattered(2), await Scattered(2));
        var expired = _from.Tickets.Issue(layer);
        _fromTime.Advance(LayerTickets.Lifetime);
        var good = _from.Tickets.Issue(layer);
        using var client = new HttpClient();

        Assert.Equal(HttpStatusCode.Forbidden, await Get(null));
        Assert.Equal(HttpStatusCode.Forbidden, await Get(expired));
        Assert.Equal(HttpStatusCode.Forbidden, await Get(_from.Tickets.Issue(other)));
        Assert.Equal(HttpStatusCode.Forbidden, await Get("not-a-ticket"));
        Assert.Equal(HttpStatusCode.Forbidden, await Get(Forged(good)));

        // A digest may take its time.
        var served = await Get(good);
        Assert.Equal(what.Length > 0, served is HttpStatusCode.OK or HttpStatusCode.Accepted);
        Assert.Equal(what.Length == 0, served is HttpStatusCode.RequestedRangeNotSatisfiable);
        if (what.StartsWith("/extents", StringComparison.Ordinal))
        {
            what = "/extents?from=-1";
            Assert.Equal(HttpStatusCode.BadRequest, await Get(good));
        }

        async Task<HttpStatusCode> Get(string? ticket)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"{_from.Address}data-plane/layers/{layer}{what}");
            if (ticket is not null) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket);
            using var response = await client.SendAsync(request, Stop);
            return response.StatusCode;
        }

        // The expiry is at the beginning of the ticket.
        static string Forged(string ticket) => $"{(ticket[0] == 'A' ? 'B' : 'A')}{ticket[1..]}";
    }

    [Theory]
    [InlineData("bytes=0-99999999999")]
    [InlineData("bytes=-5")]
    [InlineData("bytes=5-")]
    [InlineData("bytes=10-20,15-30")]
    [InlineData("bytes=0-16777216")]
    [InlineData("lines=0-1")]
    public async Task Endpoint_ForRangesThatItDoesNotServe_SaysSo(string range)
    {
        var layer = await Scattered(2);
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{_from.Address}data-plane/layers/{layer}");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _from.Tickets.Issue(layer));
        request.Headers.TryAddWithoutValidation("Range", range);

        using var response = await client.SendAsync(request, Stop);

        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, response.StatusCode);
    }

    [Fact]
    public async Task Offer_Printed_DoesNotShowItsTicket()
    {
        var offer = _from.Store.Offer(await Scattered(1));

        Assert.DoesNotContain(offer.Ticket, offer.ToString(), StringComparison.Ordinal);
        Assert.Contains(offer.Path, offer.ToString(), StringComparison.Ordinal);
    }

    /// <summary>Real layers: a master with content, and over it a slave whose guest has written here and there.</summary>
    [Fact]
    public async Task Download_OfASlaveToAHostThatHasItsMaster_MovesTheChangesAlone()
    {
        const int Writes = 4096;
        const int WriteBytes = 16 << 10;
        await using var to = await Puller();
        var (master, slave) = (LayerId.New(), LayerId.New());
        await _from.Store.CreateLayer(master, parent: null, 1L << 30, Stop);
        Write(master, 1024, 64 << 10, stride: 1 << 20, pattern: 1);
        await _from.Store.Seal(master);
        await _from.Store.CreateLayer(slave, master, 1L << 30, Stop);
        Write(slave, Writes, WriteBytes, stride: 1 << 18, pattern: 2);
        await _from.Store.Seal(slave);
        await to.Pull(_from.Store, master);
        var before = _pipe.Bytes;

        var done = await to.Pull(_from.Store, master, slave);

        Assert.Equal(0, done.Layers[0].BytesMoved);
        Assert.InRange(_pipe.Bytes - before, 1, (long)(Writes * WriteBytes * Allowance));
        TestContext.Current.TestOutputHelper?.WriteLine($"{(_pipe.Bytes - before) / (double)(Writes * WriteBytes):0.000} bytes on the wire for each byte that was changed");
        TestLibrary.QemuImg("check", "-q", "-f", "qcow2", to.Store.PathOf(slave));
        TestLibrary.QemuImg("compare", "-q", "-f", "qcow2", "-F", "qcow2", _from.Store.PathOf(slave), to.Store.PathOf(slave));

        void Write(LayerId layer, int writes, int bytes, long stride, int pattern) => TestLibrary.Run(
            "qemu-io", ["-f", "qcow2", "-d", "unmap", .. Enumerable.Range(0, writes).SelectMany(write => (string[])["-c", $"write -q -P {pattern} {write * stride} {bytes}"]), _from.Store.PathOf(layer)]);
    }

    private Task<StoreNode> Puller(params (string Key, string Value)[] settings) =>
        StoreNode.Start(Path.Combine(_folder, "to"), time: null, [("LayerStore:Transfer", "http"), .. settings]);

    /// <summary>As sparse as possible: every second page is a hole.</summary>
    private Task<LayerId> Scattered(int pages) => _from.AddLayer(Length, [.. Enumerable.Range(0, pages).Select(page => page * 8192L)]);

    /// <summary>The data between the holes. The file system's metadata also counts as the file's space, but is not moved.</summary>
    private long Data(LayerId layer)
    {
        using var file = File.OpenHandle(_from.Store.PathOf(layer));
        var bytes = 0L;
        for (var at = 0L; UnixFiles.NextData(file, at) is { } data; at = data.Offset + data.Length) bytes += data.Length;
        return bytes;
    }

    private void AssertMoved(LayerId layer, StoreNode to, TransferProgress done, long lostBytes = 0)
    {
        var bytes = Data(layer);
        Assert.InRange(_pipe.Bytes, bytes, (bytes * Allowance) + lostBytes);
        Assert.Equal(bytes, Assert.Single(done.Layers).BytesMoved);
        Assert.Equal(_from.Store.BytesOf(layer), to.Store.BytesOf(layer));
        Assert.Equal(LayerPullTests.Digest(_from.Store, layer), LayerPullTests.Digest(to.Store, layer));
        Assert.Equal(LayerPullTests.Digest(to.Store, layer), done.Layers[0].Sha256);
        LayerPullTests.AssertClean(to.Store, layer);
        TestContext.Current.TestOutputHelper?.WriteLine($"{_pipe.Bytes / (double)bytes:0.000} bytes on the wire for each byte");
    }
}

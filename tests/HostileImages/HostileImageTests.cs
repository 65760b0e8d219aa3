using System.Diagnostics;
using System.Text;
using Instances.Faults;
using Xunit;

namespace Instances.Library.Import;

/// <summary>Images that an import refuses. Each must be refused with its code, in bounded time and memory, without leaving files or opening other ones.</summary>
public sealed class HostileImageTests : IDisposable
{
    /// <summary>A bound against an endless import. A quiet machine needs less than 2 s.</summary>
    private static readonly TimeSpan s_bound = TimeSpan.FromMinutes(5);

    private const long PromisedBytes = 256L << 20;

    private readonly ImportScene _scene = new();
    private readonly Canary _canary = Canary.Watch();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Names => [.. HostileImage.All.Keys];

    public void Dispose()
    {
        _canary.Dispose();
        _scene.Dispose();
    }

    [Theory, MemberData(nameof(Names))]
    public async Task Import_HostileImage_IsRefused(string name)
    {
        var image = HostileImage.All[name];
        var bytes = image.Make();
        using var memory = new PeakMemory();
        _canary.WasOpened(); // Opens during the creation of the image do not count.
        var allocated = GC.GetTotalAllocatedBytes(precise: true);
        var clock = Stopwatch.StartNew();

        var refusal = await Assert.ThrowsAsync<FaultException>(() => _scene.Import(bytes, image.Declared, Token).WaitAsync(s_bound, Token));

        var (time, own, children) = (clock.Elapsed, Math.Max(0, GC.GetTotalAllocatedBytes(precise: true) - allocated - memory.AllocatedByWatching), memory.Bytes);
        TestContext.Current.SendDiagnosticMessage($"{name}: {refusal.Fault.Code} after {time.TotalMilliseconds:0} ms, {own >> 20} MiB allocated, children at most {children >> 20} MiB");
        Assert.Equal(image.Code, refusal.Fault.Code);
        Assert.False(_canary.WasOpened());
        Assert.DoesNotContain(Canary.Content, refusal.ToString() + string.Concat(_scene.Library.Log), StringComparison.Ordinal);
        Assert.DoesNotContain(Canary.Folder, refusal.Message, StringComparison.Ordinal);
        Assert.Empty(_scene.Files());
        Assert.InRange(own, 0, PromisedBytes);
        Assert.InRange(children, 0, PromisedBytes);
    }

    [Fact]
    public void PeakMemory_OfAProgramThatTakesMuch_IsSeen()
    {
        using var memory = new PeakMemory();

        TestLibrary.Run("sh", "-c", "exec xz -9 -T1 -c /usr/bin/qemu-img > /dev/null");

        Assert.InRange(memory.Bytes, 32 << 20, long.MaxValue);
    }

    [Fact]
    public void Canary_ThatIsOpened_Tells()
    {
        Assert.False(_canary.WasOpened());

        TestLibrary.QemuImg("info", "-f", "raw", Canary.Path);

        Assert.True(_canary.WasOpened());
        Assert.False(_canary.WasOpened());
    }

    [Fact]
    public void Lines_FromThe1stToThe42nd_AreAllThere() =>
        Assert.Equal(Enumerable.Range(1, 42).Except([29]), HostileImage.All.Values.Select(image => image.Line).Distinct().Order());

    /// <summary>An image that is refused for its beginning is refused after that: the rest is never read.</summary>
    [Theory]
    [InlineData("2: backing file above", 64 << 10)]
    [InlineData("7: data file bit alone", 512)]
    [InlineData("15: size of 64 TiB", 512)]
    [InlineData("30: VMDK, declared raw", 512)]
    [InlineData("39: bzip2", 512)]
    [InlineData("36: differencing", 512)]
    [InlineData("40: ISO 9660", 64 << 10)]
    [InlineData("31: description declared VMDK", 512)]
    public async Task Import_RefusedForItsBeginning_IsRefusedBeforeTheRestComes(string name, int bytes)
    {
        var image = HostileImage.All[name];
        var head = image.Make().Concat(new byte[bytes]).Take(bytes).ToArray();

        var refusal = await Assert.ThrowsAsync<FaultException>(() => _scene.Receive(ImportScene.PlanOf(image.Declared), new HeadOnly(head), Token));

        Assert.Equal(image.Code, refusal.Fault.Code);
        Assert.Empty(_scene.Files());
    }

    /// <summary>Each message says what to do, and names only its own cause.</summary>
    [Theory]
    [InlineData("39: bzip2", "bunzip2")]
    [InlineData("39: OVA", "take its disk out with tar")]
    [InlineData("39: zip, declared raw", "acceptSignature=true")]
    [InlineData("38: log to be replayed", "qemu-img check -r all -f vhdx")]
    [InlineData("37: wrong checksum", "the copy of it in the first sector is sound")]
    [InlineData("42: gzip with other bytes behind", "something other than zeros follows")]
    [InlineData("42: gzip cut", "is cut")]
    [InlineData("42: gzip with a wrong checksum", "is damaged")]
    public async Task Refusal_NamesTheCauseAndTheCure(string name, string words)
    {
        var image = HostileImage.All[name];

        var refusal = await Assert.ThrowsAsync<FaultException>(() => _scene.Import(image.Make(), image.Declared, Token));

        Assert.Contains(words, refusal.Message, StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>Returns its bytes and then throws: a reader that wants more has not refused.</summary>
    private sealed class HeadOnly(byte[] head) : MemoryStream(head)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            await base.ReadAsync(buffer, cancellationToken) is > 0 and var read ? read : throw new InvalidOperationException("The rest was asked for.");
    }

    // Line 29. Its guest wrote a header that names a file of the host to its first sector.
    [Fact]
    public async Task Import_RawDiskThatHoldsAHeader_StaysRaw()
    {
        var header = HostileQcow2.Backing(Canary.Path);
        byte[] disk = [.. header[..65_536], .. Bytes.Disk[65_536..]];

        Assert.Equal("format-mismatch", (await Assert.ThrowsAsync<FaultException>(() => _scene.Import(disk, ImageFormat.Raw, Token))).Fault.Code);
        var manifest = await _scene.Import(disk, ImageFormat.Raw, Token, acceptSignature: true);

        Assert.Equal((ImageFormat.Raw, disk.LongLength), (manifest.Import!.Format, manifest.Disks[0].VirtualSizeBytes));
        Assert.False(_canary.WasOpened());
        var raw = Path.Combine(_scene.Library.Store.Folder, "raw");
        TestLibrary.QemuImg("convert", "-f", "qcow2", "-O", "raw", _scene.PathOf(manifest), raw);
        Assert.Equal(disk, await File.ReadAllBytesAsync(raw, Token));
        Assert.False(_canary.WasOpened());
        Assert.DoesNotContain(Canary.Content, Encoding.Latin1.GetString(await File.ReadAllBytesAsync(_scene.PathOf(manifest), Token)), StringComparison.Ordinal);
    }
}

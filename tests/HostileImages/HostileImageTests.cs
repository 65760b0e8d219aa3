using System.Diagnostics;
using System.Text;
using Instances.Faults;
using Xunit;

namespace Instances.Library.Import;

/// <summary>What an import refuses, each with its code, in bounded time and memory, leaving nothing behind and opening nothing else.</summary>
public sealed class HostileImageTests : IDisposable
{
    /// <summary>Against an endless import: a quiet machine takes less than 2 s.</summary>
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
        _canary.WasOpened(); // While it was made: what its maker did does not count.
        var allocated = GC.GetTotalAllocatedBytes();
        var clock = Stopwatch.StartNew();

        var refusal = await Assert.ThrowsAsync<FaultException>(() => _scene.Import(bytes, image.Declared, Token).WaitAsync(s_bound, Token));

        var (time, own, children) = (clock.Elapsed, GC.GetTotalAllocatedBytes() - allocated, memory.Bytes);
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

    // Line 29. Its guest wrote to its first sector what names a file of the host.
    [Fact]
    public async Task Import_RawDiskThatHoldsAHeader_StaysRaw()
    {
        var header = HostileQcow2.Backing(Canary.Path);
        byte[] disk = [.. header[..65_536], .. Bytes.Disk[65_536..]];

        var manifest = await _scene.Import(disk, ImageFormat.Raw, Token);

        Assert.Equal((ImageFormat.Raw, disk.LongLength), (manifest.Import!.Format, manifest.Disks[0].VirtualSizeBytes));
        Assert.False(_canary.WasOpened());
        var raw = Path.Combine(_scene.Library.Store.Folder, "raw");
        TestLibrary.QemuImg("convert", "-f", "qcow2", "-O", "raw", _scene.PathOf(manifest), raw);
        Assert.Equal(disk, await File.ReadAllBytesAsync(raw, Token));
        Assert.False(_canary.WasOpened());
        Assert.DoesNotContain(Canary.Content, Encoding.Latin1.GetString(await File.ReadAllBytesAsync(_scene.PathOf(manifest), Token)), StringComparison.Ordinal);
    }
}

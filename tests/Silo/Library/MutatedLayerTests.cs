using System.Buffers.Binary;
using System.Diagnostics;
using Instances.Faults;
using Xunit;

namespace Instances.Library;

/// <summary>A machine's QEMU writes the layers, and a guest may have taken QEMU over: with any header and tables, a merge is refused, or its result has the content that QEMU reads.</summary>
public sealed class MutatedLayerTests : IDisposable
{
    private const int Mutations = 300;

    private readonly TestLibrary _library = new();

    private FolderLibraryStore Store => _library.Store;

    public void Dispose() => _library.Dispose();

    [Fact]
    public async Task Merge_OfALayerWithOtherNumbers_IsRefusedOrHasWhatQemuReads()
    {
        var chain = await Chain();
        var originals = chain.Select(layer => File.ReadAllBytes(Store.PathOf(layer))).ToList();
        var (merged, refused) = (0, 0);
        for (var seed = 0; seed < Mutations; seed++)
        {
            var random = new Random(seed);
            var place = random.Next(1, chain.Count);
            Replace(chain[place], Mutated(originals[place], random));
            var merge = new LayerMerge(LayerId.New(), chain, 1);
            try
            {
                await Store.Merge(merge, LibraryOptions.MaxBytesPerSecond, TestContext.Current.CancellationToken);
                merged++;
                TestLibrary.QemuImg("check", "-f", "qcow2", Store.PathOf(merge.Merged));

                // If QEMU cannot read the layers, there is nothing to compare.
                Assert.True(Compare(Node(chain), Node([chain[0], merge.Merged])) is 0 or 2, $"seed {seed}");
                await Store.Delete(merge.Merged);
            }
            catch (FaultException exception)
            {
                refused++;
                Assert.Equal("layer-unreadable", exception.Fault.Code);
                Assert.False(Store.Contains(merge.Merged));
            }

            Assert.Empty(Directory.GetFiles(Store.Incoming));
            Replace(chain[place], originals[place]);
        }

        Assert.True(merged > 5 && refused > 5, $"{merged} merged, {refused} refused");
    }

    private async Task<IReadOnlyList<LayerId>> Chain()
    {
        List<LayerId> chain = [];
        for (var number = 0; number < 4; number++)
        {
            var layer = LayerId.New();
            await Store.CreateLayer(layer, number == 0 ? null : chain[^1], 32L << 20, TestContext.Current.CancellationToken);
            TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", $"write -P {number + 1} {number}M 1M", "-c", $"write -P {number + 9} 9000k 6k", "-c", $"write -z {(number * 100) + 4096}k 300k", Store.PathOf(layer));
            await Store.Seal(layer);
            chain.Add(layer);
        }

        return chain;
    }

    /// <summary>Other bytes in the header, in the first table, and mostly in the second one.</summary>
    private static byte[] Mutated(byte[] original, Random random)
    {
        var file = original.ToArray();
        var l1 = (int)BinaryPrimitives.ReadInt64BigEndian(file.AsSpan(40));
        var l2 = (int)(BinaryPrimitives.ReadInt64BigEndian(file.AsSpan(l1)) & 0x00FF_FFFF_FFFF_FE00);
        for (var count = random.Next(1, 4); count > 0; count--)
        {
            var at = random.Next(4) switch { 0 => random.Next(112), 1 => l1 + random.Next(8), _ => l2 + random.Next(16 * 160) };
            file[at] = random.Next(3) switch { 0 => (byte)random.Next(256), 1 => (byte)(file[at] ^ (1 << random.Next(8))), _ => (byte)(random.Next(2) * 255) };
        }

        return file;
    }

    private void Replace(LayerId layer, byte[] bytes)
    {
        UnixFiles.ChangeMode(Store.PathOf(layer), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllBytes(Store.PathOf(layer), bytes);
        UnixFiles.ChangeMode(Store.PathOf(layer), UnixFiles.SealedMode);
    }

    /// <summary>A chain as machines use it, regardless of the names in headers.</summary>
    private string Node(IEnumerable<LayerId> layers) => layers.Aggregate("", (below, layer) =>
        $$"""{"driver":"qcow2","read-only":true,"file":{"driver":"file","filename":"{{Store.PathOf(layer)}}"}{{(below == "" ? "" : $",\"backing\":{below}")}}}""");

    private static int Compare(string one, string other)
    {
        using var process = Process.Start(new ProcessStartInfo("qemu-img", ["compare", "-q", $"json:{one}", $"json:{other}"]) { RedirectStandardError = true })!;
        process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }
}

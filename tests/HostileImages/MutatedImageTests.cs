using System.Globalization;
using Instances.Faults;
using Xunit;

namespace Instances.Library.Import;

/// <summary>Valid images with changed bytes: each is refused with a code, or is accepted and refers to no other file.</summary>
public sealed class MutatedImageTests
{
    /// <summary>How many are tried of each format: a sample. A larger number in the environment makes a long run.</summary>
    private const string CountVariable = "INSTANCES_MUTATIONS";
    private const int Count = 60;

    /// <summary>Where a qcow2 file says at which offset the name of its backing file is: 0 if it has none.</summary>
    private const int BackingOffset = 8;

    private static readonly TimeSpan s_bound = TimeSpan.FromMinutes(5);

    private static readonly string[] s_codes =
    [
        "image-refers-outside", "image-malformed", "image-unsupported-feature", "image-corrupt", "image-encrypted", "image-has-snapshots",
        "image-unsupported-version", "quota-exceeded", "image-empty", "image-unsupported-format", "format-mismatch",
    ];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("qcow2", "", 1)]
    [InlineData("vmdk", "", 2)]
    [InlineData("vmdk", "subformat=streamOptimized", 3)]
    [InlineData("vdi", "", 4)]
    [InlineData("vpc", "", 5)]
    [InlineData("vhdx", "block_size=1M", 6)]
    [InlineData("gzip", "", 7)]
    [InlineData("xz", "", 8)]
    [InlineData("zstd", "", 9)]
    public async Task Import_MutatedImage_IsRefusedWithACodeOrTaken(string format, string options, int seed)
    {
        var random = new Random(seed);
        using var scene = new ImportScene(maxVirtualBytes: 64 << 20);
        using var canary = Canary.Watch();
        var image = format is "gzip" or "xz" or "zstd" ? Bytes.Compressed(Bytes.Converted("qcow2"), format, "-c") : Bytes.Converted(format, options);
        var (count, taken) = (int.Parse(Environment.GetEnvironmentVariable(CountVariable) ?? $"{Count}", CultureInfo.InvariantCulture), 0);
        for (var trial = 0; trial < count; trial++)
        {
            var mutated = Mutate(image, random);
            try
            {
                var manifest = await scene.Import(mutated, declared: null, Token).WaitAsync(s_bound, Token);
                taken++;
                Assert.Equal(0UL, TestImages.Number64(await File.ReadAllBytesAsync(scene.PathOf(manifest), Token), BackingOffset));
                foreach (var file in scene.Files())
                    File.Delete(file);
            }
            catch (FaultException refusal)
            {
                Assert.Contains(refusal.Fault.Code, s_codes);
            }
            catch (Exception exception)
            {
                Assert.Fail($"Trial {trial} of seed {seed}: {exception}");
            }

            Assert.Empty(scene.Files());
            Assert.False(canary.WasOpened(), $"Trial {trial} of seed {seed} was followed to another file.");
        }

        TestContext.Current.SendDiagnosticMessage($"{format} {options}: {taken} of {count} were taken");
    }

    // Most important fields are at the beginning, and some at the end.
    private static byte[] Mutate(byte[] image, Random random)
    {
        var mutated = (byte[])image.Clone();
        for (var change = random.Next(1, 5); change > 0; change--)
        {
            var place = random.Next(6) switch
            {
                0 or 1 => random.Next(Math.Min(128, image.Length)),
                2 => random.Next(Math.Min(2048, image.Length)),
                3 => random.Next(image.Length),
                4 => Math.Max(0, image.Length - 1 - random.Next(1536)),
                _ => random.Next(Math.Min(2 << 20, image.Length)),
            };
            byte[] value = random.Next(8) switch
            {
                0 => [0],
                1 => [0xFF],
                2 => BitConverter.GetBytes(uint.MaxValue),
                3 => BitConverter.GetBytes(random.NextInt64()),
                4 => BitConverter.GetBytes(0UL),
                5 => Bytes.Text(Canary.Path),
                6 => BitConverter.GetBytes(1UL << random.Next(64)),
                _ => [(byte)(image[place] ^ (1 << random.Next(8)))],
            };
            value.AsSpan(0, Math.Min(value.Length, image.Length - place)).CopyTo(mutated.AsSpan(place));
        }

        return random.Next(10) == 0 ? mutated[..random.Next(1, mutated.Length)] : mutated;
    }
}

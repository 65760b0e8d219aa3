namespace Instances.Library.Import;

/// <summary>Lines 41 and 42 of what an import refuses: compressed files.</summary>
internal static class HostileCompressed
{
    private static readonly string[][] s_programs = [["gzip", "-c"], ["xz", "-c", "-1"], ["zstd", "-c", "-q"]];

    private static byte[] Half(string[] program) => Bytes.Compressed(new byte[ImportScene.MaxUploadBytes / 2 + 1], program);

    private static byte[] Whole(string[] program) => Bytes.Compressed(TestImages.Plain, program);

    public static IEnumerable<HostileImage> All =>
    [
        .. s_programs.SelectMany(program => (HostileImage[])
        [
            new(41, $"{program[0]} bomb", "quota-exceeded", () => Bytes.Compressed(new byte[ImportScene.MaxUploadBytes + 1], program), ImageFormat.Raw),
            new(41, $"{program[0]} in {program[0]}", "image-malformed", () => Bytes.Compressed(Whole(program), program)),
            new(42, $"{program[0]} with other bytes behind", "image-malformed", () => [.. Whole(program), .. "and more"u8]),
            new(42, $"{program[0]} cut", "image-malformed", () => Whole(program) is var file ? file[..(file.Length / 2)] : []),
            new(42, $"{program[0]} cut by a byte", "image-malformed", () => Whole(program)[..^1]),
        ]),
        .. s_programs[1..].SelectMany(program => (HostileImage[])
        [
            new(41, $"{program[0]} bomb in two parts", "quota-exceeded", () => Half(program) is var half ? [.. half, .. half] : [], ImageFormat.Raw),
            new(42, $"{program[0]} of two parts, the first one cut", "image-malformed", () => [.. Whole(program)[..^4], .. Whole(program)]),
            new(42, $"{program[0]} of two parts with other bytes between", "image-malformed", () => [.. Whole(program), .. "and more"u8, .. Whole(program)]),
        ]),
        new(42, "xz with more zeros behind than anybody writes", "image-malformed", () => [.. Whole(s_programs[1]), .. new byte[2 << 20]]),
        new(42, "xz with three zeros behind", "image-malformed", () => [.. Whole(s_programs[1]), .. new byte[3]]),
        new(42, "zstd with zeros behind", "image-malformed", () => [.. Whole(s_programs[2]), .. new byte[16]]),
        new(42, "zstd with a skippable frame that is cut", "image-malformed", () => [.. Whole(s_programs[2]), 0x50, 0x2A, 0x4D, 0x18, 9, 0, 0, 0, 1]),
        .. s_programs.Select(program => new HostileImage(
            41, $"{program[0]} of one byte over and over", "quota-exceeded", () => Bytes.Compressed([.. Enumerable.Repeat((byte)'A', 128 << 20)], program), ImageFormat.Raw)),
        new(41, "gzip in gzip, ten times", "image-malformed", () => Enumerable.Range(0, 10).Aggregate(TestImages.Plain, (file, _) => Bytes.Compressed(file, "gzip", "-c"))),
        new(41, "xz of endless blocks", "image-malformed", () => Whole(s_programs[1]) is var file ? file.Little32(file.Length - 8, uint.MaxValue >> 2) : []),
        new(41, "zstd with a window of 2 GiB", "image-malformed", () => Bytes.Compressed(TestImages.Plain, "zstd", "-c", "-q", "--no-check").With(5, 21 << 3)),
        new(42, "gzip with a wrong checksum", "image-malformed", () => Whole(s_programs[0]) is var file ? file.With(file.Length - 8, (byte)~file[^8]) : []),
        new(42, "xz with a wrong checksum", "image-malformed", () => Whole(s_programs[1]) is var file ? file.With(100, (byte)~file[100]) : []),
        new(42, "zstd with a wrong checksum", "image-malformed", () => Whole(s_programs[2]) is var file ? file.With(file.Length - 1, (byte)~file[^1]) : []),
    ];
}

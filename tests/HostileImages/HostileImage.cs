namespace Instances.Library.Import;

/// <summary>A file that an import refuses.</summary>
/// <param name="Line">The number of its kind: 1 to 30 are qcow2 and wrong declarations, 31 to 40 the other formats, 41 and 42 compressed files.</param>
/// <param name="Declared">The declared format; null for none.</param>
internal sealed record HostileImage(int Line, string Name, string Code, Func<byte[]> Make, ImageFormat? Declared = null)
{
    public static IReadOnlyDictionary<string, HostileImage> All { get; } =
        HostileQcow2.All.Concat(HostileFormats.All).Concat(HostileCompressed.All).ToDictionary(image => $"{image.Line}: {image.Name}");
}

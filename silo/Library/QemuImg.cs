using System.Globalization;
using Instances.Faults;

namespace Instances.Library;

/// <summary>Runs qemu-img. Arguments are lists and formats are always given: nothing that stands in a file chooses how it is read.</summary>
internal sealed class QemuImg(ProcessConfinement confinement)
{
    private const string Program = "qemu-img";

    // extended_l2: a guest's small writes copy 2 KiB around them, not 64: a tenth of the bytes for random writes into a fresh layer.
    private const string LayerOptions = "cluster_size=64k,extended_l2=on";

    /// <summary>Makes an empty layer. Its backing file is named, not opened.</summary>
    /// <param name="backing">The relative name of the layer below, or null for a blank disk.</param>
    /// <exception cref="FaultException">no-space; qemu-img-failed.</exception>
    public async Task Create(string path, string? backing, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        string[] over = backing is null ? [] : ["-u", "-b", backing, "-F", "qcow2"];
        string[] arguments =
        [
            "create", "-q", "-f", "qcow2", .. over, "-o", LayerOptions, path,
            virtualSizeBytes.ToString(CultureInfo.InvariantCulture),
        ];
        (await BoundedProcess.Run([.. BoundedProcess.DieWithParent, Program, .. arguments], ProcessBounds.Short, cancellationToken)).RequireSuccess(Path.GetDirectoryName(path)!);
    }

    /// <summary>Reads the header of a file of unknown origin.</summary>
    public Task<ProcessOutcome> Info(string path, ImageFile format, ProcessBounds bounds, CancellationToken cancellationToken) =>
        RunConfined([Program, "info", "--output=json", .. format.Source(ProcessConfinement.Source)], bounds, path, target: null, cancellationToken);

    /// <summary>Checks the structure of a file of unknown origin. Only exit code 0 is good.</summary>
    /// <param name="repair">What is repaired first, in the file: <c>leaks</c> or <c>all</c>; null for nothing.</param>
    public Task<ProcessOutcome> Check(string path, ImageFile format, string? repair, ProcessBounds bounds, CancellationToken cancellationToken)
    {
        string[] repairing = repair is null ? [] : ["-r", repair];
        return RunConfined([Program, "check", "-q", .. repairing, .. format.Source(ProcessConfinement.Source)], bounds, path, target: null, cancellationToken);
    }

    /// <summary>Writes the content of a file of unknown origin to a base layer of ours. The target is not durable when this returns.</summary>
    /// <param name="target">Is made anew.</param>
    public Task<ProcessOutcome> ConvertToBase(string source, ImageFile format, string target, ProcessBounds bounds, CancellationToken cancellationToken)
    {
        new FileStream(target, UnixFiles.PrivateFile()).Dispose();
        confinement.Give(target);
        return RunConfined(
            [Program, "convert", "-q", "-O", "qcow2", "-t", "writeback", "-o", "cluster_size=64k", .. format.Source(ProcessConfinement.Source), ProcessConfinement.Target],
            bounds, source, target, cancellationToken);
    }

    /// <summary>A value within options: commas are doubled.</summary>
    internal static string Escaped(string value) => value.Replace(",", ",,", StringComparison.Ordinal);

    private Task<ProcessOutcome> RunConfined(IReadOnlyList<string> command, ProcessBounds bounds, string source, string? target, CancellationToken cancellationToken) =>
        BoundedProcess.Run([.. confinement.Prefix(bounds, source, target), .. command], bounds, cancellationToken);
}

/// <summary>A disk format as qemu-img names it.</summary>
internal readonly record struct ImageFile(string Text)
{
    public static ImageFile Of(ImageFormat format) => format switch
    {
        ImageFormat.Qcow2 => new("qcow2"),
        ImageFormat.Raw => new("raw"),
        ImageFormat.Vmdk => new("vmdk"),
        ImageFormat.Vdi => new("vdi"),
        ImageFormat.Vhd => new("vpc"),
        ImageFormat.Vhdx => new("vhdx"),
    };

    /// <summary>As people name it.</summary>
    public string Name => Text switch
    {
        "vpc" => "VHD",
        "qcow2" or "raw" => Text,
        _ => Text.ToUpperInvariant(),
    };

    /// <summary>Whether qemu-img can check the structure of such a file.</summary>
    public bool CanBeChecked => Text is not ("raw" or "vpc");

    /// <summary>The arguments that name a file and say how to read it.</summary>
    // Of the two sizes in a VHD the one by cylinders, which qemu takes for some of its writers, leaves the last sectors out.
    public string[] Source(string path) => Text == "vpc"
        ? ["--image-opts", $"driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={QemuImg.Escaped(path)}"]
        : ["-f", Text, path];
}

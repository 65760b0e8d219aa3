using System.Globalization;
using Instances.Faults;

namespace Instances.Library;

/// <summary>Runs qemu-img. Arguments are lists and formats are always given, so that the content of a file cannot choose how it is read.</summary>
internal sealed class QemuImg(ProcessConfinement confinement)
{
    private const string Program = "qemu-img";

    // With extended_l2, a guest's small writes copy only 2 KiB around them, not 64: a tenth of the bytes for random writes into a new layer.
    private const string LayerOptions = "cluster_size=64k,extended_l2=on";

    /// <summary>Creates an empty layer. Its backing file is named, not opened.</summary>
    /// <param name="backing">The relative name of the parent layer, or null for a blank disk.</param>
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

    /// <summary>Reads the header of an untrusted file.</summary>
    public Task<ProcessOutcome> Info(string path, ImageFile format, ProcessBounds bounds, CancellationToken cancellationToken) =>
        RunConfined([Program, "info", "--output=json", .. format.Source(ProcessConfinement.Source)], bounds, path, target: null, cancellationToken);

    /// <summary>Checks the structure of an untrusted file. Only exit code 0 is good.</summary>
    /// <param name="repair">What is repaired first, in the file: <c>leaks</c> or <c>all</c>; null for nothing.</param>
    public Task<ProcessOutcome> Check(string path, ImageFile format, string? repair, ProcessBounds bounds, CancellationToken cancellationToken)
    {
        string[] repairing = repair is null ? [] : ["-r", repair];
        return RunConfined([Program, "check", "-q", .. repairing, .. format.Source(ProcessConfinement.Source)], bounds, path, target: null, cancellationToken);
    }

    /// <summary>Writes the content of an untrusted file to a new base layer. The target is not durable when this returns.</summary>
    /// <param name="target">Created, or replaced.</param>
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

    /// <summary>The usual name of the format.</summary>
    public string Name => Text switch
    {
        "vpc" => "VHD",
        "qcow2" or "raw" => Text,
        _ => Text.ToUpperInvariant(),
    };

    /// <summary>Whether qemu-img can check the structure of such a file.</summary>
    public bool CanBeChecked => Text is not ("raw" or "vpc");

    /// <summary>The arguments that name a file and say how to read it.</summary>
    // A VHD has two sizes. The one by cylinders, which QEMU uses for files of some writers, omits the last sectors.
    public string[] Source(string path) => Text == "vpc"
        ? ["--image-opts", $"driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={QemuImg.Escaped(path)}"]
        : ["-f", Text, path];
}

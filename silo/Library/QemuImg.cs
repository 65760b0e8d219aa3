using System.Globalization;
using System.Text;
using CliWrap;
using CliWrap.Exceptions;
using Instances.Faults;

namespace Instances.Library;

/// <summary>Runs qemu-img. Arguments are lists and formats are always given: nothing that stands in a file chooses how it is read.</summary>
internal sealed class QemuImg(ProcessConfinement confinement)
{
    private const string Program = "qemu-img";

    /// <summary>Makes an empty layer. Its backing file is named, not opened.</summary>
    /// <param name="backing">The relative name of the layer below, or null for a blank disk.</param>
    /// <exception cref="FaultException">no-space; qemu-img-failed.</exception>
    public async Task Create(string path, string? backing, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        // extended_l2: a guest's small writes copy 2 KiB around them, not 64: a tenth of the bytes for random writes into a fresh layer.
        string[] over = backing is null ? [] : ["-u", "-b", backing, "-F", "qcow2"];
        string[] arguments =
        [
            "create", "-q", "-f", "qcow2", .. over, "-o", "cluster_size=64k,extended_l2=on", path,
            virtualSizeBytes.ToString(CultureInfo.InvariantCulture),
        ];
        (await Run([Program, .. arguments], ProcessBounds.Short, cancellationToken)).RequireSuccess();
    }

    /// <summary>Reads the header of a file of unknown origin.</summary>
    public Task<ProcessOutcome> Info(string path, ImageFile format, ProcessBounds bounds, CancellationToken cancellationToken) =>
        RunConfined([Program, "info", "--output=json", "-f", format.Text, path], bounds, cancellationToken);

    /// <summary>Checks the structure of a file of unknown origin. Only exit code 0 is good.</summary>
    /// <param name="repair">Whether reference counts that a crash left behind are put right first, in the file.</param>
    public Task<ProcessOutcome> Check(string path, ImageFile format, bool repair, ProcessBounds bounds, CancellationToken cancellationToken)
    {
        string[] repairing = repair ? ["-r", "all"] : [];
        return RunConfined([Program, "check", "-q", "-f", format.Text, .. repairing, path], bounds, cancellationToken);
    }

    /// <summary>Writes the content of a file of unknown origin to a base layer of ours. The target is not durable when this returns.</summary>
    public Task<ProcessOutcome> ConvertToBase(string source, ImageFile format, string target, ProcessBounds bounds, CancellationToken cancellationToken) =>
        RunConfined(
            [Program, "convert", "-q", "-f", format.Text, "-O", "qcow2", "-t", "writeback", "-o", "cluster_size=64k", source, target], bounds, cancellationToken);

    private Task<ProcessOutcome> RunConfined(IReadOnlyList<string> command, ProcessBounds bounds, CancellationToken cancellationToken) =>
        Run([.. confinement.Prefix(bounds), .. command], bounds, cancellationToken);

    private static async Task<ProcessOutcome> Run(IReadOnlyList<string> command, ProcessBounds bounds, CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        end.CancelAfter(bounds.Time);
        var output = new CappedOutput(end);
        var errors = new CappedOutput(end);
        try
        {
            // Ending it ends its whole tree of processes.
            var result = await Cli.Wrap(command[0])
                .WithArguments(command.Skip(1), escape: true)
                .WithValidation(CommandResultValidation.None)
                .WithStandardOutputPipe(output.Target)
                .WithStandardErrorPipe(errors.Target)
                .ExecuteAsync(end.Token);
            return new(result.ExitCode, output.Text, errors.Text);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new(ProcessOutcome.OutOfBounds, output.Text, errors.Text);
        }
        catch (CliWrapException exception)
        {
            throw FaultException.Unavailable("qemu-img-failed", $"{command[0]} could not be started. Install qemu-utils and util-linux.", exception);
        }
    }

    /// <summary>Keeps what fits and ends the process where there is more.</summary>
    private sealed class CappedOutput(CancellationTokenSource end)
    {
        private readonly MemoryStream _kept = new();

        public PipeTarget Target => PipeTarget.Create(async (stream, cancellationToken) =>
        {
            var buffer = new byte[4096];
            for (int read; (read = await stream.ReadAsync(buffer, cancellationToken)) > 0;)
            {
                if (_kept.Length + read > ProcessBounds.OutputBytes)
                {
                    await end.CancelAsync();
                    return;
                }

                _kept.Write(buffer, 0, read);
            }
        });

        public string Text => Encoding.UTF8.GetString(_kept.GetBuffer(), 0, (int)_kept.Length);
    }
}

/// <summary>A disk format as qemu-img names it.</summary>
internal readonly record struct ImageFile(string Text)
{
    public static ImageFile Of(ImageFormat format) => format switch
    {
        ImageFormat.Qcow2 => new("qcow2"),
        ImageFormat.Raw => new("raw"),
    };
}

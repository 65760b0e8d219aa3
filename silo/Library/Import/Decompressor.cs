using CliWrap;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Expands a compressed upload with the program of its format. The program writes no file: its output passes through this class, which counts it.</summary>
internal sealed class Decompressor(FolderLibraryStore store, ProcessConfinement confinement, IOptions<ImportOptions> options, IOptions<LibraryOptions> library)
{
    private const int BufferBytes = 256 << 10;

    /// <summary>The size to which any upload may expand. Above it <see cref="ImportOptions.MaxExpansion"/> applies.</summary>
    private const long FreeExpansionBytes = 64 << 20;

    /// <summary>Pieces of zeros of this size do not count, because they take no space and a sparse disk has many.</summary>
    private const int PieceBytes = 4096;

    /// <summary>Exit codes from this on mean that a signal ended the program.</summary>
    private const int SignalBase = 128;

    private const int SecondsForAnything = 300;
    private const int SecondsForEachGibibyte = 600;
    private const long MemoryBytes = 256L << 20;

    /// <summary>Memory of the program for its window and tables, within the bound above.</summary>
    private const long WindowBytes = (long)ZstdFrames.MaxWindowBytes;

    /// <param name="progress">Called with the number of expanded bytes.</param>
    /// <exception cref="FaultException">image-malformed; quota-exceeded; no-space; qemu-img-failed.</exception>
    public async Task Expand(ReceivedUpload upload, string target, Action<long> progress, CancellationToken cancellationToken)
    {
        var compression = upload.Compression ?? throw new ArgumentException("The upload is not compressed.", nameof(upload));
        var seconds = SecondsForAnything + (int)Math.Min(upload.Bytes / (1L << 30) * SecondsForEachGibibyte, int.MaxValue / 4);
        var bounds = new ProcessBounds(TimeSpan.FromSeconds(seconds * 2.0), seconds, MemoryBytes, FileBytes: 0);
        FaultException? refusal = null;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var output = PipeTarget.Create(async (stream, token) =>
        {
            try
            {
                await Write(stream, upload, target, progress, token);
            }
            catch (FaultException exception)
            {
                refusal = exception;
                await stop.CancelAsync();
            }
        });

        ProcessOutcome? outcome = null;
        try
        {
            outcome = await BoundedProcess.Run([.. confinement.Prefix(bounds, upload.Path), .. CommandOf(compression)], bounds, standardInput: null, output, stop.Token);
        }
        catch (OperationCanceledException) when (refusal is not null)
        {
            // This process ended the program because of its output.
        }

        if (refusal is not null)
            throw refusal;
        if (outcome is not { Succeeded: true })
            throw Failure(outcome!, compression);
    }

    /// <summary>Chooses a sentence for each cause from the program's error output.</summary>
    private static FaultException Failure(ProcessOutcome outcome, ImageCompression compression)
    {
        var (kind, command) = compression switch
        {
            ImageCompression.Gzip => ("gzip", "gunzip"),
            ImageCompression.Xz => ("xz", "unxz"),
            ImageCompression.Zstd => ("zstd", "unzstd"),
        };
        if (outcome.ExitCode is ProcessOutcome.OutOfBounds or >= SignalBase || Says("memory"))
            return ImportFaults.Malformed($"to expand its {kind} data takes more time or memory than is allowed", $"Expand it with {command}, and import the result.");
        if (Says("trailing garbage")) return ImportFaults.Malformed($"something other than zeros follows its {kind} data", $"Expand it with {command}, which leaves that out, and import the result.");
        return ImportFaults.Malformed(Says("unexpected end") || Says("premature end") ? $"its {kind} data is cut" : $"its {kind} data is damaged");

        bool Says(string words) => outcome.Errors.Contains(words, StringComparison.OrdinalIgnoreCase);
    }

    private async Task Write(Stream stream, ReceivedUpload upload, string target, Action<long> progress, CancellationToken cancellationToken)
    {
        var bound = CompressedFile.BoundOf(options.Value, library.Value);
        var dataBound = FreeExpansionBytes + (Math.Min(upload.Bytes, long.MaxValue / 2 / options.Value.MaxExpansion) * options.Value.MaxExpansion);
        var buffer = new byte[BufferBytes];
        var (total, data) = (0L, 0L);
        try
        {
            new FileStream(target, UnixFiles.PrivateFile()).Dispose();
            using var file = File.OpenHandle(target, FileMode.Open, FileAccess.Write, FileShare.Read);
            for (int read; (read = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken)) > 0; total += read)
            {
                if (total + read > bound)
                    throw ImportFaults.ExpandsTooFar(bound);
                // Zeros become holes, because most of a raw disk is zeros.
                if (DataIn(buffer.AsSpan(0, read)) is > 0 and var more)
                {
                    data += more;
                    if (data > dataBound)
                        throw ImportFaults.ExpandsTooMuch(options.Value.MaxExpansion);
                    if (store.FreeBytes - read < store.MinimumFreeBytes)
                        throw FileFaults.NoSpaceLeft(store.Folder);
                    await RandomAccess.WriteAsync(file, buffer.AsMemory(0, read), total, cancellationToken);
                }

                progress(total);
            }

            RandomAccess.SetLength(file, total);
        }
        catch (IOException exception)
        {
            throw FileFaults.OfDisk(exception, store.Folder);
        }
    }

    private static int DataIn(ReadOnlySpan<byte> bytes)
    {
        var data = 0;
        for (; bytes.Length > 0; bytes = bytes[Math.Min(PieceBytes, bytes.Length)..])
        {
            if (bytes[..Math.Min(PieceBytes, bytes.Length)].ContainsAnyExcept((byte)0)) data += PieceBytes;
        }

        return data;
    }

    // One thread each, because more threads take more memory.
    private static string[] CommandOf(ImageCompression compression) => compression switch
    {
        ImageCompression.Gzip => ["gzip", "--decompress", "--stdout"],
        ImageCompression.Xz => ["xz", "--decompress", "--stdout", "--quiet", "--format=xz", "--threads=1", $"--memlimit-decompress={WindowBytes}"],
        ImageCompression.Zstd => ["zstd", "--decompress", "--stdout", "--quiet", $"--memory={WindowBytes}"],
    };
}

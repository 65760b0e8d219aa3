using CliWrap;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Expands a compressed upload by the program that belongs to it. The program writes no file: what comes out of it passes through here, and is counted.</summary>
internal sealed class Decompressor(FolderLibraryStore store, ProcessConfinement confinement, IOptions<ImportOptions> options, IOptions<LibraryOptions> library)
{
    private const int BufferBytes = 256 << 10;
    private const int SecondsForAnything = 300;
    private const int SecondsForEachGibibyte = 600;
    private const long MemoryBytes = 256L << 20;

    /// <summary>What the program takes for its window and tables, within the bound above.</summary>
    private const long WindowBytes = (long)ZstdFrame.MaxWindowBytes;

    /// <param name="progress">Is told how many bytes have come out.</param>
    /// <exception cref="FaultException">image-malformed; quota-exceeded; no-space; qemu-img-failed.</exception>
    public async Task Expand(ReceivedUpload upload, string target, Action<long> progress, CancellationToken cancellationToken)
    {
        var compression = upload.Compression ?? throw new ArgumentException("The upload is not compressed.", nameof(upload));
        var seconds = SecondsForAnything + (int)Math.Min(upload.Bytes / (1L << 30) * SecondsForEachGibibyte, int.MaxValue / 4);
        var bounds = new ProcessBounds(TimeSpan.FromSeconds(seconds * 2.0), seconds, MemoryBytes, FileBytes: 0);
        var bytes = 0L;
        FaultException? refusal = null;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var output = PipeTarget.Create(async (stream, token) =>
        {
            try
            {
                bytes = await Write(stream, target, progress, token);
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
            // Ended from here, for what came out of it.
        }

        if (refusal is not null)
            throw refusal;
        if (outcome is not { Succeeded: true })
            throw ImportFaults.Malformed("its compression is damaged or cut, something follows it, or it needs more time or memory than is allowed");
        if (compression is ImageCompression.Gzip)
        {
            using var file = File.OpenHandle(upload.Path);
            CompressedFile.RequireOneMember(file, bytes);
        }
    }

    private async Task<long> Write(Stream stream, string target, Action<long> progress, CancellationToken cancellationToken)
    {
        var bound = CompressedFile.BoundOf(options.Value, library.Value);
        var buffer = new byte[BufferBytes];
        var total = 0L;
        try
        {
            new FileStream(target, UnixFiles.PrivateFile()).Dispose();
            using var file = File.OpenHandle(target, FileMode.Open, FileAccess.Write, FileShare.Read);
            for (int read; (read = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken)) > 0; total += read)
            {
                if (total + read > bound)
                    throw ImportFaults.ExpandsTooFar(bound);
                if (store.FreeBytes - read < store.MinimumFreeBytes)
                    throw FileFaults.NoSpaceLeft(store.Folder);

                // Zeros become a hole: most of a raw disk is that.
                if (buffer.AsSpan(0, read).ContainsAnyExcept((byte)0))
                    await RandomAccess.WriteAsync(file, buffer.AsMemory(0, read), total, cancellationToken);
                progress(total);
            }

            RandomAccess.SetLength(file, total);
            return total;
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            throw FileFaults.NoSpaceLeft(store.Folder, exception);
        }
    }

    // One thread each: more of them take more memory.
    private static string[] CommandOf(ImageCompression compression) => compression switch
    {
        ImageCompression.Gzip => ["gzip", "--decompress", "--stdout"],
        ImageCompression.Xz => ["xz", "--decompress", "--stdout", "--quiet", "--format=xz", "--threads=1", $"--memlimit-decompress={WindowBytes}"],
        ImageCompression.Zstd => ["zstd", "--decompress", "--stdout", "--quiet", $"--memory={WindowBytes}"],
    };
}

using CliWrap;
using Instances.Faults;

namespace Instances.Library.Export;

/// <summary>Compresses an export with the program zstd while it is created. The program has only pipes, and ends with them if this process dies.</summary>
internal sealed class ExportCompressor(ProcessConfinement confinement)
{
    private const int BufferBytes = 256 << 10;
    private const int SecondsForAnything = 300;
    private const int SecondsForEachGibibyte = 600;
    private const long MemoryBytes = 256L << 20;

    /// <summary>The exit code of a shell for a missing program.</summary>
    private const int NotFound = 127;

    internal string Program { get; init; } = "zstd";

    /// <param name="write">Writes the data to compress.</param>
    /// <param name="virtualBytes">Their approximate maximum number.</param>
    /// <exception cref="FaultException">zstd-missing; export-failed; and what <paramref name="write"/> throws.</exception>
    public async Task Compress(Func<Stream, CancellationToken, Task> write, Stream target, long virtualBytes, CancellationToken cancellationToken)
    {
        // The time depends on the receiver: only the processor time is bounded.
        var seconds = SecondsForAnything + (int)Math.Min(virtualBytes / (1L << 30) * SecondsForEachGibibyte, int.MaxValue / 4);
        var bounds = new ProcessBounds(Timeout.InfiniteTimeSpan, seconds, MemoryBytes, FileBytes: 0);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Exception? failure = null;
        var isWhole = false;
        var input = PipeSource.Create((stream, token) => Guard(() => Feed(stream, token)));
        var output = PipeTarget.Create((stream, token) => Guard(() => stream.CopyToAsync(target, BufferBytes, token)));
        ProcessOutcome outcome;
        try
        {
            outcome = await BoundedProcess.Run([.. confinement.Prefix(bounds), Program, "--compress", "--stdout", "--quiet"], bounds, input, output, stop.Token);
        }
        catch (OperationCanceledException) when (failure is not null)
        {
            throw failure; // This process ended zstd.
        }

        if (failure is not null) throw failure;
        if (outcome.ExitCode == NotFound) throw ExportFaults.ProgramMissing();
        if (!outcome.Succeeded || !isWhole) throw ExportFaults.CompressionFailed(outcome);

        async Task Feed(Stream stream, CancellationToken token)
        {
            try
            {
                await write(stream, token);
                isWhole = true;
            }
            catch (Exception exception) when (exception is IOException || (exception is OperationCanceledException && !stop.IsCancellationRequested))
            {
                // The program has ended and closed its pipe; its outcome says why. A failure of a layer is a fault.
            }
        }

        // End the program: otherwise it would treat the end of its input as the end of the export.
        async Task Guard(Func<Task> copy)
        {
            try
            {
                await copy();
            }
            catch (Exception exception)
            {
                Interlocked.CompareExchange(ref failure, exception, null);
                await stop.CancelAsync();
            }
        }
    }
}

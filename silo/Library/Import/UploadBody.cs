using System.Buffers;
using System.IO.Pipelines;
using Instances.Faults;

namespace Instances.Library.Import;

/// <summary>The body of a request that sends bytes of an import. It distinguishes why it ended: the client disconnected, was silent for too long or was superseded, or the import was cancelled.</summary>
/// <param name="offset">How many bytes of the import have arrived before.</param>
/// <param name="silenceBound">How long the next byte may take. There is no lowest rate.</param>
/// <param name="checkPeriod">How often cancellation is checked while no bytes arrive.</param>
internal sealed class UploadBody(
    PipeReader body, ImportPlace place, ProgressReport report, long offset, TimeSpan silenceBound, TimeSpan checkPeriod, bool isPart, TimeProvider time) : Stream
{
    private long _bytes = offset;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <exception cref="FaultException">upload-aborted; upload-timed-out; upload-busy.</exception>
    /// <exception cref="ImportCancelledException">The owner has cancelled the import.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            // A read that is cancelled by a token leaves the body in a state in which the web server cannot read the rest of it.
            using var superseded = place.Superseded.UnsafeRegister(_ => body.CancelPendingRead(), null);
            while (true)
            {
                var pending = body.ReadAsync(cancellationToken);
                var result = pending.IsCompletedSuccessfully ? pending.Result : await Wait(pending.AsTask());
                var read = (int)Math.Min(buffer.Length, result.Buffer.Length);
                var piece = result.Buffer.Slice(0, read);
                piece.CopyTo(buffer.Span);
                body.AdvanceTo(piece.End);
                if (place.Superseded.IsCancellationRequested) throw ImportFaults.Superseded();
                if (read > 0) place.MarkProgress();
                _bytes += read;
                if (read > 0 || result.IsCompleted) return read;
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException and not ImportCancelledException)
        {
            throw isPart ? ImportFaults.PartAborted(exception) : ImportFaults.UploadAborted(exception);
        }
    }

    private async Task<ReadResult> Wait(Task<ReadResult> reading)
    {
        for (var since = time.GetTimestamp(); ;)
        {
            await ((Task)reading).WaitAsync(checkPeriod, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (reading.IsCompleted) return await reading;
            var isSilent = time.GetElapsedTime(since) >= silenceBound;
            if (!isSilent && await report(ImportStage.Receiving, _bytes)) continue;
            body.CancelPendingRead();
            body.AdvanceTo((await reading).Buffer.Start);
            throw isSilent ? ImportFaults.TimedOut(silenceBound) : new ImportCancelledException();
        }
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

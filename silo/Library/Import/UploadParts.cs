using System.Buffers;
using Instances.Faults;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Receives the parts of an upload into one file. The upload's offset is the length of the file, so that no other record is needed.</summary>
/// <remarks>The caller has claimed the file, so that there is one writer at a time.</remarks>
internal sealed class UploadParts(FolderLibraryStore store, ImageReceiver receiver, IOptions<ImportOptions> options, TimeProvider time)
{
    private const int BufferBytes = 256 << 10;

    /// <summary>How often the free space is checked.</summary>
    private const long SpaceCheckBytes = 64 << 20;

    /// <summary>Appends a part. If it is interrupted, the received bytes are kept. A part that does not fit is refused.</summary>
    /// <param name="offset">Where the part begins, according to the client.</param>
    /// <param name="announcedBytes">The length that the transport announces, or null.</param>
    /// <returns>The durable offset of the upload.</returns>
    /// <exception cref="FaultException">upload-mismatch; upload-aborted; upload-timed-out; no-space; disk-failed. One that <see cref="EndsImport"/>: the file is deleted, and the caller fails the import.</exception>
    /// <exception cref="ImportCancelledException">The owner has cancelled the import, and the file is deleted.</exception>
    public async Task<long> Append(UploadPlan plan, long offset, long? announcedBytes, Stream body, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken)
    {
        var (path, length) = (store.PartPathOf(plan.Layer), plan.Command.Bytes!.Value);
        try
        {
            using var file = Open(path);
            var start = RandomAccess.GetLength(file);
            if (offset != start) throw ImportFaults.PartMismatch($"The part begins at byte {offset}, and the upload is at byte {start}.");
            if (announcedBytes > length - start) throw TooLong(length);
            if (store.FreeBytes - (length - start) < store.MinimumFreeBytes) throw FileFaults.NoSpaceLeft(store.Folder);
            await RequireNotCancelled(report, start);
            var end = await Take(file, start, plan.Command, body, report, () => receiver.AdmitHead(path, plan.Command, admit), cancellationToken);
            KillPoints.Reach("import.part-received");
            await RequireNotCancelled(report, end);
            return end;
        }
        catch (Exception exception) when (exception is ImportCancelledException || (exception is FaultException { Fault: var fault } && EndsImport(fault)))
        {
            File.Delete(path);
            throw;
        }
        catch (IOException exception)
        {
            throw FileFaults.OfDisk(exception, store.Folder);
        }
    }

    /// <summary>Whether the fault ends the import: the received bytes show that it cannot be imported.</summary>
    public static bool EndsImport(Fault fault) => fault.Kind is FaultKind.Invalid || fault.Code is "quota-virtual-bytes" or "quota-exceeded";

    private async Task<long> Take(
        SafeFileHandle file, long start, ImportCommand command, Stream body, ProgressReport report, Func<Task> admitHead, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            return await Copy(file, start, command.Bytes!.Value, body, buffer, report, admitHead, cancellationToken);
        }
        catch (FaultException exception) when (exception.Fault.Code is "upload-mismatch")
        {
            RandomAccess.SetLength(file, start);
            throw;
        }
        finally
        {
            // Bytes that are acknowledged must survive a power cut.
            RandomAccess.FlushToDisk(file);
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task<long> Copy(
        SafeFileHandle file, long start, long length, Stream body, byte[] buffer, ProgressReport report, Func<Task> admitHead, CancellationToken cancellationToken)
    {
        var (end, reportedAt, spaceAt) = (start, time.GetTimestamp(), start + SpaceCheckBytes);
        try
        {
            for (int read; (read = await body.ReadAsync(buffer.AsMemory(0, BufferBytes), cancellationToken)) > 0;)
            {
                if (end + read > length) throw TooLong(length);
                if (buffer.AsSpan(0, read).ContainsAnyExcept((byte)0)) await RandomAccess.WriteAsync(file, buffer.AsMemory(0, read), end, CancellationToken.None);
                end += read;
                if (Array.Exists(ImageHead.Looks, look => end >= look && end - read < look))
                {
                    Extend(file, end);
                    await admitHead();
                }

                if (end >= spaceAt)
                {
                    spaceAt = end + SpaceCheckBytes;
                    Extend(file, end);
                    if (store.FreeBytes < store.MinimumFreeBytes) throw FileFaults.NoSpaceLeft(store.Folder);
                }

                if (time.GetElapsedTime(reportedAt) < options.Value.ReportPeriod) continue;
                reportedAt = time.GetTimestamp();
                await RequireNotCancelled(report, end);
            }

            return end;
        }
        finally
        {
            Extend(file, end);
        }
    }

    /// <summary>Turns zeros at the end into a hole. The bytes before it are made durable first: a file system may store the new length before earlier bytes, and after a power
    /// cut there would be zeros in their place, up to where the client continues.</summary>
    private static void Extend(SafeFileHandle file, long end)
    {
        if (RandomAccess.GetLength(file) >= end) return;
        RandomAccess.FlushToDisk(file);
        RandomAccess.SetLength(file, end);
    }

    private static FaultException TooLong(long length) => ImportFaults.PartMismatch($"The upload was declared with {length} bytes, and the part exceeds them.");

    private static async Task RequireNotCancelled(ProgressReport report, long bytes)
    {
        if (!await report(ImportStage.Receiving, bytes)) throw new ImportCancelledException();
    }

    private static SafeFileHandle Open(string path)
    {
        if (!File.Exists(path)) new FileStream(path, UnixFiles.PrivateFile()).Dispose();
        return File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.Read, FileOptions.Asynchronous);
    }
}

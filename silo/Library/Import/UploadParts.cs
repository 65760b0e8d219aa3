using System.Buffers;
using Instances.Faults;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Takes the parts of an upload into one file. How far it is, is the length of the file: nothing else is to be kept, and nothing gets out of step.</summary>
/// <remarks>Whoever calls has claimed the file: there is one writer at a time.</remarks>
internal sealed class UploadParts(FolderLibraryStore store, ImageReceiver receiver, IOptions<ImportOptions> options, TimeProvider time)
{
    private const int BufferBytes = 256 << 10;

    /// <summary>How often the free space is looked at.</summary>
    private const long SpaceCheckBytes = 64 << 20;

    /// <summary>Appends a part. What has come of one that breaks off counts; one that does not fit is not taken.</summary>
    /// <param name="offset">Where the sender says that the part begins.</param>
    /// <param name="announcedBytes">What the transport says will come, or null.</param>
    /// <returns>How far the upload is, durably.</returns>
    /// <exception cref="FaultException">upload-mismatch; upload-aborted; upload-timed-out; no-space; disk-failed. One that <see cref="EndsImport"/>: the file is gone, and the import is to be failed.</exception>
    /// <exception cref="ImportCancelledException">The owner says so; the file is gone.</exception>
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

    /// <summary>Whether no part of the upload is worth sending: what has come shows that it cannot be imported.</summary>
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
            // What was answered as taken has to be there after a power cut, too.
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

    /// <summary>Zeros at the end become a hole. What lies before them is durable first: a file system may remember a new length before bytes that were written earlier, and after a power
    /// cut zeros would stand in their place, up to where the sender continues.</summary>
    private static void Extend(SafeFileHandle file, long end)
    {
        if (RandomAccess.GetLength(file) >= end) return;
        RandomAccess.FlushToDisk(file);
        RandomAccess.SetLength(file, end);
    }

    private static FaultException TooLong(long length) => ImportFaults.PartMismatch($"The upload was declared with {length} bytes, and the part goes past them.");

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

using System.Buffers;
using System.Security.Cryptography;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Receives the bytes of an upload into a private file, and examines their head. A refused upload leaves no files.</summary>
internal sealed class ImageReceiver(FolderLibraryStore store, IOptions<ImportOptions> options, IOptions<LibraryOptions> library, TimeProvider time)
{
    private const int BufferBytes = 256 << 10;

    /// <summary>How often the free space is checked.</summary>
    private const long SpaceCheckBytes = 64 << 20;

    /// <param name="announcedBytes">The length that the transport announces, or null.</param>
    /// <param name="neededBytes">The space that it takes, if the file has known holes; null for its whole length.</param>
    /// <exception cref="FaultException">upload-mismatch; upload-aborted; image-too-large; no-space; quota-exceeded; quota-virtual-bytes; a code of <see cref="ImageInspector"/> or <see cref="CompressedFile"/>.</exception>
    /// <exception cref="ImportCancelledException">The owner has cancelled the import.</exception>
    public async Task<ReceivedUpload> Receive(UploadPlan plan, Stream body, long? announcedBytes, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken, long? neededBytes = null)
    {
        var command = plan.Command;
        if (announcedBytes is { } announced && command.Bytes is { } declared && announced != declared)
            throw ImportFaults.UploadMismatch($"{declared} bytes were declared and {announced} announced.");
        RequireSpace(neededBytes ?? command.Bytes ?? announcedBytes ?? 0);

        var path = store.PartPathOf(plan.Layer);
        try
        {
            var (bytes, sha256) = await Copy(body, path, command, report, admit, cancellationToken);
            if (command.Bytes is { } expected && bytes != expected)
                throw ImportFaults.UploadMismatch($"{expected} bytes were declared and {bytes} arrived.");
            if (command.Sha256 is { } digest && !digest.Equals(sha256, StringComparison.OrdinalIgnoreCase))
                throw ImportFaults.UploadMismatch($"The received bytes have the SHA-256 {sha256}, not the declared one.");
            KillPoints.Reach("import.received");
            return await Inspect(path, command, bytes, sha256, admit);
        }
        catch (Exception exception)
        {
            File.Delete(path);
            if (exception is IOException io) throw FileFaults.OfDisk(io, store.Folder);
            throw;
        }
    }

    /// <summary>Makes an upload durable. A slow disk may take minutes for bytes that are still in memory, so progress is reported meanwhile.</summary>
    /// <exception cref="FaultException">no-space; disk-failed. No files are left.</exception>
    /// <exception cref="ImportCancelledException">The owner has cancelled the import.</exception>
    public async Task Sync(ReceivedUpload upload, ProgressReport report)
    {
        var sync = Task.Run(() => UnixFiles.SyncFile(upload.Path));
        try
        {
            while (await Task.WhenAny(sync, Task.Delay(options.Value.ReportPeriod, time)) != sync) await RequireNotCancelled(report, upload.Bytes);
            await sync;
        }
        catch (Exception exception)
        {
            File.Delete(upload.Path);
            if (exception is IOException io) throw FileFaults.OfDisk(io, store.Folder);
            throw;
        }
    }

    /// <summary>Examines a complete upload in its file, which arrived in parts or as a clone. A refused upload leaves no files.</summary>
    /// <exception cref="FaultException">upload-mismatch; quota-virtual-bytes; a code of <see cref="Qcow2Inspector"/>.</exception>
    /// <exception cref="ImportCancelledException">The owner has cancelled the import.</exception>
    public async Task<ReceivedUpload> Examine(UploadPlan plan, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken)
    {
        var path = store.PartPathOf(plan.Layer);
        try
        {
            await AdmitHead(path, plan.Command, admit);
            var (bytes, sha256) = await Hash(path, report, cancellationToken);
            if (plan.Command.Sha256 is { } digest && !digest.Equals(sha256, StringComparison.OrdinalIgnoreCase))
                throw ImportFaults.UploadMismatch($"The received bytes have the SHA-256 {sha256}, not the declared one.");
            KillPoints.Reach("import.received");
            return await Inspect(path, plan.Command, bytes, sha256, admit);
        }
        catch (Exception exception) when (exception is FaultException or ImportCancelledException or IOException)
        {
            // Keep the file if this process ends in the middle: the next one continues with it.
            File.Delete(path);
            if (exception is IOException io) throw FileFaults.OfDisk(io, store.Folder);
            throw;
        }
    }

    private async Task<(long Bytes, string Sha256)> Hash(string path, ProgressReport report, CancellationToken cancellationToken)
    {
        var (total, reportedAt) = (0L, time.GetTimestamp());
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.Asynchronous);
            var length = RandomAccess.GetLength(file);
            await RequireNotCancelled(report, length);
            for (int read; (read = await RandomAccess.ReadAsync(file, buffer.AsMemory(0, BufferBytes), total, cancellationToken)) > 0;)
            {
                total += read;
                hash.AppendData(buffer, 0, read);
                if (time.GetElapsedTime(reportedAt) < options.Value.ReportPeriod)
                    continue;
                reportedAt = time.GetTimestamp();
                await RequireNotCancelled(report, length);
            }

            return (total, Convert.ToHexStringLower(hash.GetHashAndReset()));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task<(long Bytes, string Sha256)> Copy(
        Stream body, string path, ImportCommand command, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken)
    {
        var (total, reportedAt, spaceAt) = (0L, time.GetTimestamp(), SpaceCheckBytes);
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var file = Create(path);
            await RequireNotCancelled(report, total);
            for (int read; (read = await body.ReadAsync(buffer.AsMemory(0, BufferBytes), cancellationToken)) > 0;)
            {
                total += read;
                if (command.Bytes < total)
                    throw ImportFaults.UploadMismatch($"{command.Bytes} bytes were declared and more arrived.");
                if (total > library.Value.MaxUploadBytes)
                    throw ImportFaults.TooLargeUpload(library.Value.MaxUploadBytes);

                hash.AppendData(buffer, 0, read);

                // Zeros become holes, because most of a raw disk is zeros.
                if (buffer.AsSpan(0, read).ContainsAnyExcept((byte)0)) await file.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                else file.SetLength(file.Seek(read, SeekOrigin.Current));
                if (ImageHead.Looks.Any(look => total >= look && total - read < look)) await AdmitHead(path, command, admit);

                if (total >= spaceAt)
                {
                    spaceAt = total + SpaceCheckBytes;
                    RequireSpace(0);
                }

                if (time.GetElapsedTime(reportedAt) < options.Value.ReportPeriod)
                    continue;
                reportedAt = time.GetTimestamp();
                await RequireNotCancelled(report, total);
            }

            return (total, Convert.ToHexStringLower(hash.GetHashAndReset()));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // The content of a compressed file is known only after its expansion, which takes time. The client does not wait for that.
    private async Task<ReceivedUpload> Inspect(string path, ImportCommand command, long bytes, string sha256, DiskAdmission admit)
    {
        using var file = File.OpenHandle(path);
        if (FormatDetector.Compression(file) is not { } compression)
        {
            var image = ImageInspector.Inspect(file, command.Format, options.Value.MaxVirtualBytes, command.AcceptSignature);
            await admit(image.VirtualSizeBytes);
            return new(path, bytes, sha256, Compression: null, image);
        }

        CompressedFile.Check(file, compression, CompressedFile.BoundOf(options.Value, library.Value));
        return new(path, bytes, sha256, compression, Image: null);
    }

    /// <summary>Refuses an upload for its beginning before the rest has arrived or was read.</summary>
    /// <exception cref="FaultException">As of <see cref="ImageHead.Examine"/>; quota-virtual-bytes.</exception>
    public async Task AdmitHead(string path, ImportCommand command, DiskAdmission admit)
    {
        if (ImageHead.Examine(path, command, options.Value.MaxVirtualBytes) is { } virtualSizeBytes) await admit(virtualSizeBytes);
    }

    private void RequireSpace(long moreBytes)
    {
        if (store.FreeBytes - moreBytes < store.MinimumFreeBytes)
            throw FileFaults.NoSpaceLeft(store.Folder);
    }

    private static async Task RequireNotCancelled(ProgressReport report, long bytes)
    {
        if (!await report(ImportStage.Receiving, bytes))
            throw new ImportCancelledException();
    }

    private static FileStream Create(string path) => new(path, UnixFiles.PrivateFile());
}

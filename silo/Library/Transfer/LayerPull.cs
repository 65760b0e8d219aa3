using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Transfer;

/// <summary>The transfer of one layer into a store: as a link, a clone or a copy of a visible file, or over HTTP.</summary>
internal sealed class LayerPull
{
    /// <summary>How many retries in a row may bring no byte, and the pauses between: about 15 s in all.</summary>
    private const int MaxAttempts = 5;

    /// <summary>How often in a row a ticket may be refused without a new byte in between.</summary>
    private const int MaxRefusals = 3;

    private const int BufferBytes = 1 << 20;

    /// <summary>How often the free space is checked: the other side may send more than it announced, and others use space meanwhile.</summary>
    private const long SpaceLookBytes = 64L << 20;

    private const int NameIsTaken = 17; // EEXIST

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(500);

    /// <summary>How long the other side may take to compute a digest, for each gibibyte plus one.</summary>
    private static readonly TimeSpan DigestBoundForEachGibibyte = TimeSpan.FromMinutes(2);

    private readonly FolderLayerStore _store;
    private readonly LayerTransfers _transfers;
    private readonly CancellationTokenSource _idle;
    private TaskCompletionSource<LayerOffer>? _renewal;
    private LayerOffer _offer;
    private long _arrived;
    private long _moved;
    private long _movedBefore;
    private long _measuredAt;
    private long _rate;

    public LayerPull(FolderLayerStore store, LayerOffer offer, LayerTransfers transfers)
    {
        (_store, _offer, _transfers, _measuredAt) = (store, offer, transfers, transfers.Time.GetTimestamp());
        _idle = new(LayerTransfers.IdleBound, transfers.Time);

        // Not on the calling grain's scheduler.
        Done = Task.Run(Run);
    }

    /// <summary>Completes when the layer is in the store.</summary>
    public Task Done { get; }

    public bool NeedsOffer => Volatile.Read(ref _renewal) is { Task.IsCompleted: false };

    public long BytesTotal => _offer.Bytes;

    /// <summary>The done part of <see cref="BytesTotal"/>.</summary>
    public long BytesDone => Done.IsCompletedSuccessfully ? BytesTotal : Math.Min(Volatile.Read(ref _arrived), BytesTotal);

    public long BytesMoved => Volatile.Read(ref _moved);

    public long BytesPerSecond => Done.IsCompleted ? 0 : Volatile.Read(ref _rate);

    public string? Sha256 { get; private set; }

    /// <summary>When it was last polled.</summary>
    public long AskedAt { get; private set; }

    /// <summary>Records a poll.</summary>
    public void Asked()
    {
        AskedAt = _transfers.Time.GetTimestamp();
        if (!Done.IsCompleted) _idle.CancelAfter(LayerTransfers.IdleBound);
    }

    public void Renew(LayerOffer offer) => Volatile.Read(ref _renewal)?.TrySetResult(offer);

    public void Cancel() => _idle.Cancel();

    private CancellationToken Stop => _idle.Token;

    private async Task Run()
    {
        await _transfers.Places.WaitAsync(Stop);
        try
        {
            if (_store.Contains(_offer.Id)) return;
            if (_transfers.Mode is TransferMode.Http || FileHere() is not { } path) await Download();
            else if (!Link(path)) await CloneOrCopy(path);
        }
        catch (IOException exception) when (FileFaults.Of(exception, _offer.Id, _store.Folder) is { } fault)
        {
            throw fault;
        }
        finally
        {
            _transfers.Places.Release();
        }
    }

    /// <summary>The offered file, if its path leads to it on this machine too.</summary>
    private string? FileHere()
    {
        if (_offer.Path.Length == 0) return null;
        var file = new FileInfo(_offer.Path);
        return file is { Exists: true, LinkTarget: null } && file.Name == $"{_offer.Id}.qcow2" && file.Length == _offer.LengthBytes && (file.UnixFileMode & UnixFiles.WriteModes) == 0
            ? file.FullName
            : null;
    }

    /// <returns>False if the files are on different file systems, or the file system has no hard links.</returns>
    private bool Link(string path)
    {
        if (UnixFiles.Link(path, _store.PathOf(_offer.Id)) is not (0 or NameIsTaken)) return false;
        UnixFiles.SyncFolder(_store.Folder);
        Sha256 = _offer.Sha256;
        return true;
    }

    private async Task CloneOrCopy(string path)
    {
        var unfinished = _store.ConvertedPathOf(_offer.Id);
        try
        {
            using var from = File.OpenHandle(path);
            if (!Clone(from, unfinished))
            {
                RequireSpace(_offer.Bytes);
                using var to = SparseFile.Create(unfinished);
                await Copy(from, to);
                Require(to.Finish(_offer.LengthBytes, Stop), _offer.Sha256);
            }
            else
            {
                Sha256 = _offer.Sha256;
            }

            _store.Install(_offer.Id, unfinished);
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }
    }

    private static bool Clone(SafeFileHandle from, string unfinished)
    {
        using var to = File.OpenHandle(unfinished, FileMode.Create, FileAccess.Write);
        return UnixFiles.Clone(from, to) == 0;
    }

    private async Task Copy(SafeFileHandle from, SparseFile to)
    {
        var buffer = new byte[BufferBytes];
        while (UnixFiles.NextData(from, to.Position) is { } data)
        {
            for (var offset = data.Offset; offset < data.Offset + data.Length;)
            {
                var read = await RandomAccess.ReadAsync(from, buffer.AsMemory(0, (int)Math.Min(BufferBytes, data.Offset + data.Length - offset)), offset, Stop);
                if (read == 0) throw new EndOfStreamException("The layer is shorter than it was.");
                await Write(to, offset, buffer.AsMemory(0, read));
                offset += read;
            }
        }
    }

    private async Task Download()
    {
        if (_offer.Address is null)
        {
            throw TransferFaults.Failed(_offer.Id, "the silo that has it listens on all its addresses and does not know which one others can reach. Set its DataPlane:Address.");
        }

        var path = _store.PartPathOf(_offer.Id);
        string digest;
        using (var part = await SparseFile.Resume(path, Stop))
        {
            if (part.Position > 0) Volatile.Write(ref _arrived, UnixFiles.AllocatedBytes(path));
            RequireSpace(_offer.Bytes - _arrived);
            await Insist(() => DownloadRest(part));
            digest = part.Finish(_offer.LengthBytes, Stop);
        }

        try
        {
            Require(digest, _offer.Sha256 ?? await Insist(TheirDigest));
        }
        catch (FaultException exception) when (exception.Fault.Code == "layer-corrupt")
        {
            File.Delete(path);
            throw;
        }

        _store.Install(_offer.Id, path);
    }

    private async Task<bool> DownloadRest(SparseFile part)
    {
        for (long? from = part.Position; from is { } position;)
        {
            var extents = await _transfers.Client.Extents(_offer, position, Stop);
            if (!extents.IsWithin(position, _offer.LengthBytes)) throw new TransferBrokenException("the other side's list of extents is out of order, or not of this layer.");
            foreach (var ranges in ByteRanges.Requests(extents.Ranges))
                await _transfers.Client.Read(_offer, ranges, (offset, bytes) => Write(part, offset, bytes), Stop);
            from = extents.Next;
        }

        return true;
    }

    private async Task<string> TheirDigest()
    {
        var begun = _transfers.Time.GetTimestamp();
        while (_transfers.Time.GetElapsedTime(begun) < DigestBoundForEachGibibyte * (1 + (_offer.LengthBytes >> 30)))
        {
            if (await _transfers.Client.Digest(_offer, Stop) is { } digest) return digest;
        }

        throw TransferFaults.Failed(_offer.Id, "the other side took too long to compute its digest.");
    }

    /// <summary>Retries after interruptions, with a new ticket if the old one is refused, as long as bytes arrive.</summary>
    private async Task<T> Insist<T>(Func<Task<T>> read)
    {
        var (attempts, refusals, movedBefore) = (0, 0, _moved);
        while (true)
        {
            try
            {
                return await read();
            }
            catch (TicketRefusedException) when (Counts(ref refusals) <= MaxRefusals)
            {
                var renewal = new TaskCompletionSource<LayerOffer>(TaskCreationOptions.RunContinuationsAsynchronously);
                Volatile.Write(ref _renewal, renewal);
                var renewed = await renewal.Task.WaitAsync(Stop);
                _offer = _offer with { Address = renewed.Address, Ticket = renewed.Ticket };
            }
            catch (TransferBrokenException) when (Counts(ref attempts) <= MaxAttempts)
            {
                await Task.Delay(FirstPause * (1 << (attempts - 1)), _transfers.Time, Stop);
            }
            catch (Exception exception) when (exception is TransferBrokenException or TicketRefusedException)
            {
                throw TransferFaults.Failed(_offer.Id, exception.Message, exception);
            }
        }

        int Counts(ref int failures)
        {
            if (_moved > movedBefore) (attempts, refusals, movedBefore) = (0, 0, _moved);
            return ++failures;
        }
    }

    private async ValueTask Write(SparseFile to, long offset, ReadOnlyMemory<byte> bytes)
    {
        await to.Write(offset, bytes, Stop);
        Volatile.Write(ref _arrived, _arrived + bytes.Length);
        if (_moved / SpaceLookBytes != (_moved + bytes.Length) / SpaceLookBytes) RequireSpace(0);
        Volatile.Write(ref _moved, _moved + bytes.Length);
        if (_transfers.Time.GetElapsedTime(_measuredAt) is { TotalSeconds: >= 1 and var seconds })
        {
            Volatile.Write(ref _rate, (long)((_moved - _movedBefore) / seconds));
            (_movedBefore, _measuredAt) = (_moved, _transfers.Time.GetTimestamp());
        }
    }

    private void Require(string found, string? expected)
    {
        if (expected is not null && !expected.Equals(found, StringComparison.OrdinalIgnoreCase)) throw TransferFaults.Corrupt(_offer.Id, expected, found);
        Sha256 = found;
    }

    private void RequireSpace(long bytes)
    {
        if (_store.FreeBytes - bytes < _store.MinimumFreeBytes) throw FileFaults.NoSpaceLeft(_store.Folder);
    }
}

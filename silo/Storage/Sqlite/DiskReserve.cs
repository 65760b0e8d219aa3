using Instances.Library;

namespace Instances.Storage;

/// <summary>Space on the database's disk that is kept for the database: a file of this size, which is cut shorter piece by piece when the disk is full. So what frees space,
/// a deletion or an undeployment, can be recorded with no byte free. It grows again when there is space.</summary>
internal sealed class DiskReserve : IDisposable
{
    /// <summary>Enough for some dozens of writes. Not all at once: machines that write would take it.</summary>
    public const long PieceBytes = 1 << 20;

    private static readonly TimeSpan RefillPeriod = TimeSpan.FromMinutes(1);

    private readonly string _file;
    private readonly long _bytes;
    private readonly Lock _turn = new();
    private Timer? _refilling;

    /// <param name="bytes">0 for none.</param>
    public DiskReserve(string databaseFile, long bytes) => (_file, _bytes) = ($"{databaseFile}.reserve", bytes);

    /// <summary>What a full disk is told of.</summary>
    public string Folder => Path.GetDirectoryName(_file)!;

    private long FreeBytes => new DriveInfo(Folder).AvailableFreeSpace;

    /// <summary>Before the database is opened, which takes space too, and before each write.</summary>
    public void MakeRoom()
    {
        while (FreeBytes < PieceBytes && Release())
        {
        }
    }

    /// <summary>Whether the disk is full, as far as the database can use it.</summary>
    public bool IsFull => FreeBytes < PieceBytes;

    /// <returns>False if nothing is left.</returns>
    public bool Release()
    {
        using var turn = _turn.EnterScope();
        var file = new FileInfo(_file);
        if (!file.Exists || file.Length == 0) return false;
        using var handle = File.OpenHandle(_file, FileMode.Open, FileAccess.Write);
        RandomAccess.SetLength(handle, Math.Max(0, file.Length - PieceBytes));
        return true;
    }

    /// <summary>From here on it is as large as it is to be, as soon as there is space.</summary>
    public void Keep()
    {
        if (_bytes > 0) _refilling ??= new(_ => Refill(), state: null, TimeSpan.Zero, RefillPeriod);
        else File.Delete(_file);
    }

    /// <summary>Not before as much again is free: else it would only go back and forth.</summary>
    internal void Refill()
    {
        using var turn = _turn.EnterScope();
        try
        {
            using var handle = File.OpenHandle(_file, FileMode.OpenOrCreate, FileAccess.Write);
            var length = RandomAccess.GetLength(handle);
            if (length > _bytes) RandomAccess.SetLength(handle, _bytes);
            if (length < _bytes && FreeBytes - (_bytes - length) >= _bytes && !UnixFiles.TryAllocate(handle, length, _bytes - length)) RandomAccess.SetLength(handle, length);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The next time.
        }
    }

    public void Dispose() => _refilling?.Dispose();
}

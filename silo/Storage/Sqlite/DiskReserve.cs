using Instances.Library;

namespace Instances.Storage;

/// <summary>A reserve file on the database's disk. When the disk is full, it is shortened piece by piece, so that work that frees space,
/// such as a deletion or an undeployment, can be recorded. It grows again when there is space.</summary>
internal sealed class DiskReserve : IDisposable
{
    /// <summary>Enough for some dozens of writes. Not all at once, because machines that write would use it up.</summary>
    public const long PieceBytes = 1 << 20;

    private static readonly TimeSpan RefillPeriod = TimeSpan.FromMinutes(1);

    private readonly string _file;
    private readonly long _bytes;
    private readonly Lock _turn = new();
    private Timer? _refilling;

    /// <param name="bytes">0 for none.</param>
    public DiskReserve(string databaseFile, long bytes) => (_file, _bytes) = ($"{databaseFile}.reserve", bytes);

    /// <summary>The folder, for messages about a full disk.</summary>
    public string Folder => Path.GetDirectoryName(_file)!;

    /// <summary>Measures the free space of a folder's disk.</summary>
    internal Func<string, long> Measure { get; init; } = folder => new DriveInfo(folder).AvailableFreeSpace;

    private long FreeBytes => Measure(Folder);

    /// <summary>Called before the database is opened, which needs space too, and before each write. Releases one piece, enough for one write: some file systems free space only
    /// later, and a loop would give the whole reserve away.</summary>
    public void MakeRoom()
    {
        if (IsFull) Release();
    }

    /// <summary>Whether the disk is full for the database.</summary>
    public bool IsFull => FreeBytes < PieceBytes;

    /// <returns>False if the reserve is empty or cannot be cut.</returns>
    public bool Release()
    {
        using var turn = _turn.EnterScope();
        try
        {
            var file = new FileInfo(_file);
            if (!file.Exists || file.Length == 0) return false;
            using var handle = File.OpenHandle(_file, FileMode.Open, FileAccess.Write);
            RandomAccess.SetLength(handle, Math.Max(0, file.Length - PieceBytes));
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Grows the reserve to its full size as soon as there is space.</summary>
    public void Keep()
    {
        if (_bytes > 0) _refilling ??= new(_ => Refill(), state: null, TimeSpan.Zero, RefillPeriod);
        else File.Delete(_file);
    }

    /// <summary>Only if twice the space is free: otherwise it would grow and shrink repeatedly.</summary>
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
            // Retry the next time.
        }
    }

    public void Dispose() => _refilling?.Dispose();
}

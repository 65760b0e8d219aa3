using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Transfer;

/// <summary>A file that is written sequentially, with holes where nothing is written, and hashed during the writing.</summary>
/// <remarks>Everything before its current length has arrived: so an interrupted file can be continued there after its beginning was hashed again.</remarks>
internal sealed class SparseFile : IDisposable
{
    private const int BufferBytes = 1 << 20;

    /// <summary>How often written bytes are synchronized. Otherwise the last synchronization would take long, without visible progress.</summary>
    private const long SyncBytes = 256L << 20;

    private static readonly byte[] Zeros = new byte[64 << 10];

    private readonly SafeFileHandle _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private long _unsynced;

    private SparseFile(SafeFileHandle file) => _file = file;

    /// <summary>The end of the written part.</summary>
    public long Position { get; private set; }

    public static SparseFile Create(string path) => new(File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.Read));

    /// <summary>Opens an interrupted file, or creates a new one.</summary>
    public static async Task<SparseFile> Resume(string path, CancellationToken cancellationToken)
    {
        var file = new SparseFile(File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read));
        try
        {
            var buffer = new byte[BufferBytes];
            for (int read; (read = await RandomAccess.ReadAsync(file._file, buffer, file.Position, cancellationToken)) > 0; file.Position += read)
                file._hash.AppendData(buffer, 0, read);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <param name="offset">At or after <see cref="Position"/>; the gap stays a hole.</param>
    public async ValueTask Write(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Skip(offset, cancellationToken);
        await RandomAccess.WriteAsync(_file, data, offset, cancellationToken);
        _hash.AppendData(data.Span);
        Position += data.Length;
        if ((_unsynced += data.Length) < SyncBytes) return;
        RandomAccess.FlushToDisk(_file);
        _unsynced = 0;
    }

    /// <summary>Gives the file its length.</summary>
    /// <returns>The SHA-256 in lower case hex. Nothing can be written after it.</returns>
    public string Finish(long length, CancellationToken cancellationToken)
    {
        Skip(length, cancellationToken);
        RandomAccess.SetLength(_file, length);
        return Convert.ToHexStringLower(_hash.GetHashAndReset());
    }

    public void Dispose()
    {
        _file.Dispose();
        _hash.Dispose();
    }

    private void Skip(long offset, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(offset, Position);
        for (; Position < offset; Position += Math.Min(Zeros.Length, offset - Position))
        {
            cancellationToken.ThrowIfCancellationRequested();
            _hash.AppendData(Zeros, 0, (int)Math.Min(Zeros.Length, offset - Position));
        }
    }
}

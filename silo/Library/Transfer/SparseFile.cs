using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Transfer;

/// <summary>A file that is written from its beginning to its end, with holes where nothing is written, and hashed while that is done.</summary>
/// <remarks>All that lies before its length has arrived: a file that was left behind can be taken up there, hashed again up to that place.</remarks>
internal sealed class SparseFile : IDisposable
{
    private const int BufferBytes = 1 << 20;

    /// <summary>Written bytes are sent to the disk as often as this: else the last synchronization would take long, with nothing to be seen of it.</summary>
    private const long SyncBytes = 256L << 20;

    private static readonly byte[] Zeros = new byte[64 << 10];

    private readonly SafeFileHandle _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private long _unsynced;

    private SparseFile(SafeFileHandle file) => _file = file;

    /// <summary>Everything before it is written.</summary>
    public long Position { get; private set; }

    public static SparseFile Create(string path) => new(File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.Read));

    /// <summary>Opens what was left behind, or makes a new file.</summary>
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

    /// <param name="offset">At or behind <see cref="Position"/>; what lies between stays a hole.</param>
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

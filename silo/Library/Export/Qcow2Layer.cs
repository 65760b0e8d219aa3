using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Instances.Faults;
using Instances.Library.Import;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Export;

/// <summary>A sealed layer that is open for reading: which parts of the disk it has, and where in the file. The name of a backing file in its header is ignored.</summary>
/// <remarks>
/// An open file keeps its content after its deletion. So an open layer can be read to its end, even if its image is deleted. A machine's QEMU wrote the file, and a guest may
/// have taken QEMU over: so each number is checked before its use. Compressed clusters, encryption and data files, which our layers never have, are refused.
/// See docs/interop/qcow2.txt in QEMU for the format.
/// </remarks>
internal sealed class Qcow2Layer : IDisposable
{
    private const int HeaderBytes = 112;
    private const int MinClusterBits = 9;
    private const int MaxClusterBits = 21;
    private const int MinClusterBitsOfExtendedL2 = 14;
    private const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    private const ulong CompressedFlag = 1UL << 62;
    private const ulong ZerosFlag = 1;
    private const int SubclusterBits = 5;
    private const Qcow2Features Readable = Qcow2Features.Dirty | Qcow2Features.CompressionType | Qcow2Features.ExtendedL2;

    private readonly LayerId _id;
    private readonly SafeFileHandle _file;
    private readonly long _fileBytes;
    private readonly int _clusterBits;
    private readonly int _pieceBits;
    private readonly int _entryBits;
    private readonly bool _hasZeros;
    private readonly ulong[] _tables;
    private readonly byte[] _table;
    private long _loaded = -1;

    /// <summary>The last run that was found absent. A pass over the layers below asks for parts of it repeatedly.</summary>
    private (long Begin, long End) _absent;

    private Qcow2Layer(LayerId id, SafeFileHandle file)
    {
        (_id, _file, _fileBytes) = (id, file, RandomAccess.GetLength(file));
        Span<byte> header = stackalloc byte[HeaderBytes];
        Load(header[..(int)Math.Min(HeaderBytes, _fileBytes)], 0);
        var version = Number32(header, 4);
        if (Number32(header, 0) != Qcow2Header.Magic || version is not (2 or 3)) throw Unreadable("it is not a qcow2 file of a known version");
        var features = version == 2 ? Qcow2Features.None : (Qcow2Features)Number64(header, 72);
        if ((features & ~Readable) != 0 || Number32(header, 32) != 0) throw Unreadable("it is marked as corrupt, or has a feature that no layer has");
        VirtualSizeBytes = (long)Number64(header, 24);
        _hasZeros = version == 3;
        _clusterBits = (int)Number32(header, 20);
        var isDivided = features.HasFlag(Qcow2Features.ExtendedL2);
        if (_clusterBits < (isDivided ? MinClusterBitsOfExtendedL2 : MinClusterBits) || _clusterBits > MaxClusterBits) throw Unreadable("its clusters have an impossible size");
        (_pieceBits, _entryBits) = isDivided ? (_clusterBits - SubclusterBits, 4) : (_clusterBits, 3);
        _table = new byte[1 << _clusterBits];
        _tables = ReadL1(Number64(header, 40), Number32(header, 36));
    }

    public LayerId Id => _id;

    public long VirtualSizeBytes { get; }

    /// <summary>The number of entries of its L1 table, which is in memory.</summary>
    public int Tables => _tables.Length;

    /// <summary>How much was read of the file so far, including tables.</summary>
    public long BytesRead { get; private set; }

    /// <summary>Whether more was read than the file has. After one pass over the disk this means that the file's tables name the same clusters repeatedly.</summary>
    public bool IsReadAgain => BytesRead > _fileBytes + (1L << _clusterBits);

    private bool IsDivided => _entryBits == 4;

    /// <summary>Log2 of the bytes of the disk that an L2 table covers.</summary>
    private int ReachBits => _clusterBits + _clusterBits - _entryBits;

    /// <exception cref="FaultException">layer-missing; layer-unreadable.</exception>
    public static Qcow2Layer Open(LayerId id, string path)
    {
        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(path);
            return new(id, file);
        }
        catch (Exception exception)
        {
            file?.Dispose();
            throw exception is FileNotFoundException or DirectoryNotFoundException ? FileFaults.LayerMissing(id, exception) : exception;
        }
    }

    /// <summary>The run at an offset of the disk: all of it is of one kind and, if it is data, contiguous in the file.</summary>
    /// <param name="bytes">The most bytes to examine; at least 1.</param>
    public LayerRun Find(long offset, long bytes)
    {
        // The disk was enlarged above this layer: after the layer's end are zeros, whatever the layers below have.
        if (offset >= VirtualSizeBytes) return new(LayerRunKind.Zeros, 0, bytes);
        if (offset >= _absent.Begin && offset < _absent.End) return new(LayerRunKind.Absent, 0, Math.Min(bytes, _absent.End - offset));
        var reach = 1L << ReachBits;
        var end = Math.Min(Math.Min(offset + bytes, VirtualSizeBytes), (offset & -reach) + reach);
        if (_tables[offset >> ReachBits] == 0) return new(LayerRunKind.Absent, 0, end - offset);
        LoadTable(offset >> ReachBits);

        var (kind, place) = PieceAt(offset, out var next);
        while (next < end)
        {
            var (otherKind, otherPlace) = PieceAt(next, out var behind);
            if (otherKind != kind || (kind is LayerRunKind.Data && otherPlace != place + next - offset)) break;
            next = behind;
        }

        if (kind is LayerRunKind.Absent) _absent = (offset, Math.Min(next, end));
        return new(kind, place, Math.Min(next, end) - offset);
    }

    /// <summary>Reads data that <see cref="Find"/> has found.</summary>
    /// <exception cref="FaultException">layer-unreadable.</exception>
    public async ValueTask Read(long place, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        BytesRead += buffer.Length;
        try
        {
            for (int read, done = 0; done < buffer.Length; done += read)
            {
                read = await RandomAccess.ReadAsync(_file, buffer[done..], place + done, cancellationToken);
                if (read > 0) continue;

                // The last cluster of the file may be incomplete: the missing bytes are zeros.
                buffer.Span[done..].Clear();
                return;
            }
        }
        catch (IOException exception)
        {
            throw Unreadable("the disk does not give its bytes", exception);
        }
    }

    public void Dispose() => _file.Dispose();

    private ulong[] ReadL1(ulong offset, uint entries)
    {
        if (VirtualSizeBytes <= 0) throw Unreadable("its size is impossible");
        var needed = ((VirtualSizeBytes - 1) >> ReachBits) + 1;
        if (needed > Qcow2Layout.MaxTables || entries < needed) throw Unreadable("its first table does not fit its size");
        RequireCluster(offset);
        var tables = new ulong[needed];
        var raw = MemoryMarshal.AsBytes(tables.AsSpan());
        Load(raw, (long)offset);
        for (var index = 0; index < tables.Length; index++)
        {
            tables[index] = BinaryPrimitives.ReadUInt64BigEndian(raw[(index * sizeof(ulong))..]) & OffsetMask;
            if (tables[index] != 0) RequireCluster(tables[index]);
        }

        return tables;
    }

    private void LoadTable(long index)
    {
        if (_loaded == index) return;
        _loaded = -1;
        Load(_table, (long)_tables[index]);
        _loaded = index;
    }

    /// <param name="next">The end of the piece, which is a subcluster or a cluster.</param>
    private (LayerRunKind Kind, long Place) PieceAt(long offset, out long next)
    {
        var index = (int)((offset >> _clusterBits) & ((1L << (_clusterBits - _entryBits)) - 1)) << _entryBits;
        var entry = Number64(_table, index);
        if ((entry & CompressedFlag) != 0) throw Unreadable("it has a compressed cluster");
        var cluster = entry & OffsetMask;
        if (cluster != 0) RequireCluster(cluster);
        var data = (LayerRunKind.Data, (long)cluster + (offset & ((1L << _clusterBits) - 1)));

        // One bit for each subcluster with data, followed by one for each that is zeros. Most clusters are of one kind, and handled as a whole.
        var bits = IsDivided ? Number64(_table, index + sizeof(ulong)) : 0;
        var isWhole = bits is 0 or uint.MaxValue or (ulong)uint.MaxValue << 32;
        var piece = 1L << (isWhole ? _clusterBits : _pieceBits);
        next = (offset & -piece) + piece;
        if (!IsDivided)
            return _hasZeros && (entry & ZerosFlag) != 0 ? (LayerRunKind.Zeros, 0) : cluster != 0 ? data : (LayerRunKind.Absent, 0);

        var bit = (int)(offset >> _pieceBits) & ((1 << SubclusterBits) - 1);
        return ((bits >> bit) & 1, (bits >> (32 + bit)) & 1) switch
        {
            (0, 0) => (LayerRunKind.Absent, 0),
            (0, _) => (LayerRunKind.Zeros, 0),
            (_, 0) when cluster != 0 => data,
            _ => throw Unreadable("a table of it has entries that have no meaning"),
        };
    }

    private void RequireCluster(ulong offset)
    {
        if (offset == 0 || (offset & ((1UL << _clusterBits) - 1)) != 0 || offset >= (ulong)_fileBytes) throw Unreadable("it is cut, or its tables name places outside of it");
    }

    private void Load(Span<byte> buffer, long offset)
    {
        BytesRead += buffer.Length;
        try
        {
            for (int read, done = 0; done < buffer.Length; done += read)
            {
                read = RandomAccess.Read(_file, buffer[done..], offset + done);
                if (read == 0) throw Unreadable("it is cut");
            }
        }
        catch (IOException exception)
        {
            throw Unreadable("the disk does not give its bytes", exception);
        }
    }

    public FaultException Unreadable(string what, Exception? cause = null) => ExportFaults.LayerUnreadable(_id, what, cause);

    private static uint Number32(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32BigEndian(bytes[offset..]);

    private static ulong Number64(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64BigEndian(bytes[offset..]);
}

/// <summary>What a layer has for a part of its disk.</summary>
internal enum LayerRunKind
{
    /// <summary>Nothing: the layers below count.</summary>
    Absent,

    /// <summary>Zeros, whatever the layers below have.</summary>
    Zeros,

    /// <summary>Data in the layer's file.</summary>
    Data,
}

/// <param name="Place">For data: its offset in the file.</param>
/// <param name="Bytes">Of the disk; at least 1.</param>
internal readonly record struct LayerRun(LayerRunKind Kind, long Place, long Bytes);

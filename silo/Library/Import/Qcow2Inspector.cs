using System.Buffers.Binary;
using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted qcow2 file before any other program does, and refuses all but plain, self-contained images.</summary>
/// <remarks>
/// Every length and offset is checked against the file and against our bounds before its use. Reads are bounded by
/// the first cluster (2 MiB), the reference table (8 MiB), the L1 table (32 MiB) and the L2 tables, one at a time. Tables and clusters that are named twice are
/// refused: with a file of a megabyte they could keep qemu-img busy for minutes, and fill a disk. See docs/interop/qcow2.txt in QEMU for the format.
/// </remarks>
internal sealed partial class Qcow2Inspector
{
    private const int MinClusterBits = 9;
    private const int MaxClusterBits = 21;
    private const int MinClusterBitsOfExtendedL2 = 14;
    private const int MaxRefcountOrder = 6;
    private const int MaxBackingNameBytes = 1023;
    private const int MaxExtensions = 64;
    private const uint MaxSnapshots = 65_536;
    private const int MinSnapshotBytes = 40;
    private const uint MaxBitmaps = 65_535;
    private const int BitmapExtensionBytes = 24;
    private const int MaxL1Bytes = 32 << 20;
    private const int MaxRefcountTableBytes = 8 << 20;
    private const int SectorBytes = 512;

    private readonly SafeFileHandle _file;
    private readonly long _fileBytes;
    private readonly byte[] _head;
    private readonly List<Region> _tables = [];

    private long _virtualBytes;
    private uint _version;
    private int _clusterBits;
    private Qcow2Features _features;
    private List<ulong> _referenceBlocks = [];
    private List<ulong> _l2Tables = [];

    private Qcow2Inspector(SafeFileHandle file, long fileBytes)
    {
        _file = file;
        _fileBytes = fileBytes;
        _head = Read(0, (int)Math.Min(fileBytes, 1 << MaxClusterBits));
    }

    private long ClusterBytes => 1L << _clusterBits;

    /// <exception cref="FaultException">One of the codes of <see cref="ImportFaults"/>.</exception>
    public static Qcow2Header Inspect(SafeFileHandle file, long maxVirtualBytes)
    {
        var fileBytes = RandomAccess.GetLength(file);
        return fileBytes == 0 ? throw ImportFaults.Empty() : new Qcow2Inspector(file, fileBytes).Inspect(maxVirtualBytes);
    }

    private Qcow2Header Inspect(long maxVirtualBytes)
    {
        CheckVersion();
        CheckClusterSize();
        CheckEncryption();
        var headerBytes = CheckHeaderLength();
        CheckFeatures();
        var backing = CheckBackingName(headerBytes);
        var extensions = ReadExtensions(headerBytes, backing);
        CheckCompression(headerBytes);
        CheckReferences(backing, extensions);
        var virtualBytes = CheckSize(maxVirtualBytes);
        CheckRefcountTable();
        CheckSnapshots();
        CheckBitmaps(extensions);
        CheckL1Table(virtualBytes);
        _virtualBytes = virtualBytes;
        CheckClusters(_l2Tables);
        return new((int)_version, _clusterBits, virtualBytes, _features.HasFlag(Qcow2Features.Dirty)) { DataBytes = (_dataClusters + _compressedClusters) << _clusterBits };
    }

    private void CheckVersion()
    {
        if (_head.Length < sizeof(uint))
            throw ImportFaults.Malformed("it is cut in the header");
        if (Number32(0) != Qcow2Header.Magic)
            throw ImportFaults.FormatMismatch(ImageFormat.Qcow2);
        RequireHeader(2 * sizeof(uint));
        _version = Number32(4);
        if (_version is not (2 or 3))
            throw ImportFaults.UnsupportedVersion(_version);
        RequireHeader(_version == 2 ? Qcow2Header.Version2Bytes : Qcow2Header.Version3Bytes);
    }

    private void CheckClusterSize()
    {
        var bits = Number32(20);
        if (bits is < MinClusterBits or > MaxClusterBits)
            throw ImportFaults.Malformed("its cluster size is out of bounds");
        _clusterBits = (int)bits;
        if (_version == 3 && Number32(96) > MaxRefcountOrder)
            throw ImportFaults.Malformed("its reference counts are too wide");
    }

    private void CheckEncryption()
    {
        switch (Number32(32))
        {
            case 0:
                return;
            case 1 or 2:
                throw ImportFaults.Encrypted();
            default:
                throw ImportFaults.Malformed("its encryption method is unknown");
        }
    }

    private int CheckHeaderLength()
    {
        if (_version == 2)
            return Qcow2Header.Version2Bytes;

        var bytes = Number32(100);
        if (bytes < Qcow2Header.Version3Bytes || bytes % 8 != 0 || bytes > ClusterBytes || bytes > _head.Length)
            throw ImportFaults.Malformed("its header has an impossible length");
        return (int)bytes;
    }

    private void CheckFeatures()
    {
        _features = _version == 2 ? Qcow2Features.None : (Qcow2Features)Number64(72);
        if ((_features & ~Qcow2Features.Known) != 0)
            throw ImportFaults.UnsupportedFeature("a feature of a later version of qcow2");
        if (_features.HasFlag(Qcow2Features.Corrupt))
            throw ImportFaults.Corrupt("it is marked as corrupt");
        if (_features.HasFlag(Qcow2Features.ExtendedL2) && _clusterBits < MinClusterBitsOfExtendedL2)
            throw ImportFaults.Malformed("its clusters are too small to be divided");
    }

    /// <summary>The place of the name in the first cluster, empty if there is none.</summary>
    private Region CheckBackingName(int headerBytes)
    {
        var name = new Region(Number64(8), Number32(16));
        if (name is { Offset: 0, Bytes: 0 })
            return default;
        if (name.Bytes is 0 or > MaxBackingNameBytes || name.Offset < (ulong)headerBytes || !name.IsInside((ulong)Math.Min(ClusterBytes, _head.Length)))
            throw ImportFaults.Malformed("the name of its backing file is out of bounds");
        return name;
    }

    private void CheckCompression(int headerBytes)
    {
        var type = headerBytes > Qcow2Header.Version3Bytes ? _head[Qcow2Header.Version3Bytes] : 0;
        if (type > 1)
            throw ImportFaults.UnsupportedFeature("an unknown kind of compression");
        if (type == 1 != _features.HasFlag(Qcow2Features.CompressionType))
            throw ImportFaults.Malformed("its kind of compression is contradictory");
    }

    private void CheckReferences(Region backing, Dictionary<Qcow2Extension, Region> extensions)
    {
        if (_features.HasFlag(Qcow2Features.ExternalDataFile))
            throw ImportFaults.RefersOutside("an external data file");
        if (extensions.ContainsKey(Qcow2Extension.ExternalDataFile))
            throw ImportFaults.Malformed("it names a data file and says that it has none");
        if (extensions.ContainsKey(Qcow2Extension.CryptoHeader))
            throw ImportFaults.Malformed("it has an encryption header and says that it is not encrypted");
        if (backing.Bytes > 0)
            throw ImportFaults.RefersOutside("a backing file");
    }

    private long CheckSize(long maxVirtualBytes)
    {
        var bytes = Number64(24);
        if (bytes is 0 or > long.MaxValue || bytes % SectorBytes != 0)
            throw ImportFaults.Malformed("its virtual size is impossible");
        return bytes <= (ulong)maxVirtualBytes ? (long)bytes : throw ImportFaults.TooLarge((long)bytes, maxVirtualBytes);
    }

    private void RequireHeader(int bytes)
    {
        if (_head.Length < bytes)
            throw ImportFaults.Malformed("it is cut in the header");
    }

    private uint Number32(int offset) => BinaryPrimitives.ReadUInt32BigEndian(_head.AsSpan(offset));

    private ulong Number64(int offset) => BinaryPrimitives.ReadUInt64BigEndian(_head.AsSpan(offset));

    private byte[] Read(long offset, int bytes)
    {
        var buffer = new byte[bytes];
        ReadInto(buffer, offset);
        return buffer;
    }

    private void ReadInto(Span<byte> buffer, long offset)
    {
        for (int read, done = 0; done < buffer.Length; done += read)
        {
            read = RandomAccess.Read(_file, buffer[done..], offset + done);
            if (read == 0)
                throw ImportFaults.Malformed("it is cut");
        }
    }

    /// <summary>A place in the file, as the file names it. The numbers are not checked yet.</summary>
    private readonly record struct Region(ulong Offset, ulong Bytes)
    {
        public bool IsInside(ulong end) => Offset <= end && Bytes <= end - Offset;

        public bool Overlaps(Region other) => Offset < other.Offset + other.Bytes && other.Offset < Offset + Bytes;
    }
}

using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted file at places that the file itself names. Each place is first checked against the file's end.</summary>
internal sealed class FileReader(SafeFileHandle file)
{
    /// <summary>The largest table that is read: more than any disk within the default bound needs.</summary>
    public const int MaxTableBytes = 32 << 20;

    public ulong Bytes { get; } = (ulong)RandomAccess.GetLength(file);

    public bool Holds(ulong offset, ulong bytes) => offset <= Bytes && bytes <= Bytes - offset;

    public byte[] Read(ulong offset, int bytes, string what)
    {
        var buffer = new byte[bytes];
        Read(offset, buffer, what);
        return buffer;
    }

    public void Read(ulong offset, Span<byte> buffer, string what)
    {
        if (!Holds(offset, (ulong)buffer.Length))
            throw ImportFaults.Malformed($"its {what} is cut or lies outside the file");
        for (int read, done = 0; done < buffer.Length; done += read)
        {
            read = RandomAccess.Read(file, buffer[done..], (long)offset + done);
            if (read == 0)
                throw ImportFaults.Malformed("it is cut");
        }
    }

    /// <summary>Reads a table whose place and length the file names.</summary>
    public byte[] ReadTable(ulong offset, UInt128 bytes, string what) => bytes <= MaxTableBytes
        ? Read(offset, (int)bytes, what)
        : throw ImportFaults.Malformed($"its {what} is larger than that of any disk that is allowed");

    /// <summary>Requires that blocks of one length are after a place, completely in the file, and do not overlap.</summary>
    /// <param name="end">The latest end of the last block.</param>
    public static void RequireApart(List<ulong> offsets, ulong bytes, ulong start, ulong end, string what)
    {
        offsets.Sort();
        var free = start;
        foreach (var offset in offsets)
        {
            if (offset < free || offset > end || bytes > end - offset)
                throw ImportFaults.Malformed($"its {what} lie outside the file, or over one another");
            free = offset + bytes;
        }
    }
}

using System.Buffers.Binary;
using System.Text;

namespace Instances.Library;

/// <summary>The name of the parent in the header of one of our layers. The layer must not be written at the same time.</summary>
internal static class BackingName
{
    private const int HeaderBytes = 20;
    private const int OffsetPlace = 8;
    private const int LengthPlace = 16;
    private const int MaxLength = 1023;

    public static string Of(LayerId layer) => $"{layer}.qcow2";

    /// <returns>Empty for a layer without a parent.</returns>
    /// <exception cref="IOException">The header is damaged.</exception>
    public static string Read(string path)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var (offset, length) = Place(file, path);
        var name = new byte[length];
        return RandomAccess.Read(file, name, offset) == length ? Encoding.UTF8.GetString(name) : throw Damaged(path);
    }

    /// <summary>Writes another name, durably. All names of layers have the same length, so that nothing else in the file changes.</summary>
    public static void Write(string path, LayerId below)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        var (offset, length) = Place(file, path);
        var name = Encoding.UTF8.GetBytes(Of(below));
        if (name.Length != length) throw Damaged(path);
        RandomAccess.Write(file, name, offset);
        RandomAccess.FlushToDisk(file);
    }

    private static (long Offset, int Length) Place(Microsoft.Win32.SafeHandles.SafeFileHandle file, string path)
    {
        var header = new byte[HeaderBytes];
        if (RandomAccess.Read(file, header, 0) < HeaderBytes) throw Damaged(path);
        var (offset, length) = (BinaryPrimitives.ReadInt64BigEndian(header.AsSpan(OffsetPlace)), BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(LengthPlace)));
        return offset >= 0 && length <= MaxLength ? (offset, (int)length) : throw Damaged(path);
    }

    private static IOException Damaged(string path) => new($"The header of the layer {Path.GetFileName(path)} is damaged.");
}

using System.Text;
using Instances.Library;
using Microsoft.Win32.SafeHandles;

namespace Instances.Qemu;

/// <summary>Reads the end of a guest's console log. The text is untrusted, and QEMU's user could have replaced the file.</summary>
internal static class ConsoleTail
{
    /// <summary>A guest can print without end: above this size, only the end of its log is kept.</summary>
    public const long MaxLogBytes = 8 << 20;

    private const int KeptLogBytes = 1 << 20;
    private const char Replacement = '\uFFFD';

    public static string Read(string path, int maxBytes)
    {
        try
        {
            using var file = UnixFiles.OpenForeign(path);
            // A pipe or a device has no length.
            var length = RandomAccess.GetLength(file);
            return Clean(ReadEnd(file, length, maxBytes));
        }
        catch (FileNotFoundException)
        {
            return "";
        }
        catch (Exception e) when (e is IOException or NotSupportedException)
        {
            throw QemuFaults.Failed($"The console's log cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Cuts a log that has become too long. QEMU appends, so that it continues at the new end. A line that it writes at this moment may come before the kept text.</summary>
    public static void Trim(string path, long maxBytes = MaxLogBytes)
    {
        if (!File.Exists(path) || new FileInfo(path).Length <= maxBytes) return;
        using var file = UnixFiles.OpenForeign(path, forAppend: true);
        var length = RandomAccess.GetLength(file);
        var end = ReadEnd(file, length, (int)Math.Min(KeptLogBytes, maxBytes));
        RandomAccess.SetLength(file, 0);
        RandomAccess.Write(file, end, 0);
    }

    /// <summary>Removes an incomplete character at the beginning, and replaces control characters, which could manipulate a terminal.</summary>
    internal static string Clean(ReadOnlySpan<byte> bytes)
    {
        const int LongestCharacter = 4;
        var start = 0;
        while (start < Math.Min(LongestCharacter - 1, bytes.Length) && (bytes[start] & 0xC0) == 0x80) start++;
        var text = new StringBuilder(Encoding.UTF8.GetString(bytes[start..]));
        text.Replace("\r\n", "\n");
        for (var i = 0; i < text.Length; i++)
        {
            if (char.IsControl(text[i]) && text[i] is not ('\n' or '\t')) text[i] = Replacement;
        }

        return text.ToString();
    }

    private static byte[] ReadEnd(SafeFileHandle file, long length, int maxBytes)
    {
        var bytes = new byte[Math.Min(length, maxBytes)];
        var read = 0;
        while (read < bytes.Length)
        {
            var count = RandomAccess.Read(file, bytes.AsSpan(read), length - bytes.Length + read);
            if (count == 0) break;
            read += count;
        }

        return bytes[..read];
    }
}

using System.Buffers.Binary;
using System.Collections.Concurrent;

namespace Instances.Library.Import;

/// <summary>Image files made by qemu-img, for patching. Each is made once.</summary>
internal static class TestImages
{
    private static readonly string s_folder = Directory.CreateTempSubdirectory("instances-images-").FullName;
    private static readonly ConcurrentDictionary<string, Lazy<byte[]>> s_made = new();

    static TestImages() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(s_folder, recursive: true);

    /// <summary>A qcow2 of 16 MiB with some data in it.</summary>
    public static byte[] Plain => Qcow2("compat=1.1");

    public static byte[] Qcow2(string options, string size = "16M") => Made($"{options} {size}", path =>
    {
        TestLibrary.QemuImg("create", "-q", "-f", "qcow2", "-o", options, path, size);
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 100k", "-c", "write -P 2 9M 70k", path);
    });

    /// <summary>The arguments for qemu-img create.</summary>
    public static byte[] Made(params string[] arguments) => Made(string.Join(' ', arguments), path => TestLibrary.QemuImg([.. arguments.Select(text => text.Replace("$path", path, StringComparison.Ordinal))]));

    public static byte[] Compressed(string type)
    {
        var plain = Path.Combine(s_folder, Guid.NewGuid().ToString());
        File.WriteAllBytes(plain, Plain);
        return Made($"compressed {type}", path => TestLibrary.QemuImg("convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", $"compression_type={type}", plain, path));
    }

    public static byte[] Patched(byte[] image, int offset, params byte[] bytes)
    {
        var patched = (byte[])image.Clone();
        bytes.CopyTo(patched, offset);
        return patched;
    }

    public static byte[] Patched32(byte[] image, int offset, uint value)
    {
        var patched = (byte[])image.Clone();
        BinaryPrimitives.WriteUInt32BigEndian(patched.AsSpan(offset), value);
        return patched;
    }

    public static byte[] Patched64(byte[] image, int offset, ulong value)
    {
        var patched = (byte[])image.Clone();
        BinaryPrimitives.WriteUInt64BigEndian(patched.AsSpan(offset), value);
        return patched;
    }

    public static ulong Number64(byte[] image, int offset) => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(offset));

    private static byte[] Made(string key, Action<string> make) => s_made.GetOrAdd(key, _ => new(() =>
    {
        var path = Path.Combine(s_folder, Guid.NewGuid().ToString());
        make(path);
        return File.ReadAllBytes(path);
    })).Value;
}

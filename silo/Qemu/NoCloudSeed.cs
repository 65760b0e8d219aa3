using System.Globalization;
using System.Text;
using CliWrap;
using CliWrap.Buffered;
using Instances.Hosts;
using Instances.Library;

namespace Instances.Qemu;

/// <summary>The data that a guest reads when it starts (cloud-init's NoCloud): its name and user data, in a small ISO 9660 volume with the label <c>cidata</c>.</summary>
internal static class NoCloudSeed
{
    private const UnixFileMode OwnerFolder = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Where the descriptor of an ISO 9660 volume has its mark.</summary>
    private const int DescriptorOffset = 0x8001;
    private static readonly byte[] DescriptorMark = [.. "CD001"u8];

    /// <summary>cloud-init repeats its first-boot work when the instance-id changes. Specifications of an earlier release have none: their guests have one for each deployment.</summary>
    public static string MetaData(MachineSpec spec) =>
        $"instance-id: {Quote(spec.InstanceId ?? $"{spec.Id}.{spec.Deployment}")}\nlocal-hostname: {Quote(spec.Name)}\n";

    public static byte[] UserData(MachineSpec spec) => spec.UserDataBase64 is { } bytes ? Convert.FromBase64String(bytes) : Encoding.UTF8.GetBytes(spec.UserData ?? KeysAsUserData(spec));

    private static string KeysAsUserData(MachineSpec spec)
    {
        var text = new StringBuilder("#cloud-config\n");
        if (spec.SshAuthorizedKeys.Count > 0) text.Append("ssh_authorized_keys:\n");
        foreach (var key in spec.SshAuthorizedKeys) text.Append(CultureInfo.InvariantCulture, $"  - {Quote(key)}\n");
        return text.ToString();
    }

    /// <summary>Writes the volume, readable only by the silo's user, because it may contain secrets.</summary>
    public static async Task Write(MachineSpec spec, RunFolder folder, CancellationToken cancellationToken)
    {
        if (IsWhole(folder.SeedPath)) return;
        var content = Path.Combine(folder.Path, "seed");
        var temporary = folder.SeedPath + ".tmp";
        Directory.CreateDirectory(content, OwnerFolder);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(content, "meta-data"), MetaData(spec), cancellationToken);
            await File.WriteAllBytesAsync(Path.Combine(content, "user-data"), UserData(spec), cancellationToken);
            await using (File.Open(temporary, new FileStreamOptions
            {
                Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
            }

            await Cli.Wrap("genisoimage")
                .WithArguments(["-quiet", "-output", temporary, "-volid", "cidata", "-joliet", "-rock", content])
                .ExecuteBufferedAsync(cancellationToken);
            UnixFiles.SyncFile(temporary);
            File.Move(temporary, folder.SeedPath, overwrite: true);
            UnixFiles.SyncFolder(folder.Path);
        }
        finally
        {
            Directory.Delete(content, recursive: true);
            File.Delete(temporary);
        }
    }

    /// <summary>Earlier releases did not synchronize the file, so that it may be empty after a power cut.</summary>
    private static bool IsWhole(string path)
    {
        if (!File.Exists(path)) return false;
        using var file = File.OpenHandle(path);
        var descriptor = new byte[DescriptorMark.Length];
        return RandomAccess.Read(file, descriptor, DescriptorOffset) == descriptor.Length && descriptor.AsSpan().SequenceEqual(DescriptorMark);
    }

    /// <summary>A double-quoted YAML scalar: like a JSON string, but characters beyond the basic plane are not escaped.</summary>
    private static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            if (c is '"' or '\\') quoted.Append('\\').Append(c);
            else if (char.IsControl(c) || c is '\u2028' or '\u2029' or '\ufeff') quoted.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            else quoted.Append(c);
        }

        return quoted.Append('"').ToString();
    }
}

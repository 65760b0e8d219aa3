using System.Text.RegularExpressions;

namespace Instances.Qemu;

/// <summary>Detects from the console that a guest does not boot. The firmware prints there before the guest's own system does.</summary>
internal static partial class BootHint
{
    private const string Firmware = "SeaBIOS (version";
    private const string FromDisk = "Booting from Hard Disk...";
    private const string NotThisDisk = "Boot failed";
    private const string NothingFound = "No bootable device.";

    /// <summary>The firmware prints more characters than this before it starts a disk.</summary>
    private const int FirmwareLength = 64;

    public enum Boot
    {
        /// <summary>The firmware is running.</summary>
        Starting,

        /// <summary>The firmware found nothing to start.</summary>
        NothingToBoot,

        /// <summary>The firmware started the disk, and nothing was printed since.</summary>
        Silent,

        /// <summary>The guest prints.</summary>
        Booted,
    }

    /// <param name="console">The end of what was printed.</param>
    public static Boot Read(string console)
    {
        var text = TerminalSequence().Replace(console, "");
        var start = text.LastIndexOf(Firmware, StringComparison.Ordinal);
        // The firmware's lines are not printed yet, or are far back.
        if (start < 0) return text.Length < FirmwareLength ? Boot.Starting : Boot.Booted;
        var printed = text[start..];
        if (After(printed, NothingFound) is { } afterwards) return afterwards.Length > 0 ? Boot.Booted : Boot.NothingToBoot;
        return After(printed, FromDisk) switch
        {
            null => Boot.Starting,
            "" => Boot.Silent,
            // The firmware tries the next disk, or reports that there is none.
            var more when more.StartsWith(NotThisDisk, StringComparison.Ordinal) || NotThisDisk.StartsWith(more, StringComparison.Ordinal) => Boot.Starting,
            _ => Boot.Booted,
        };
    }

    /// <returns>Null while the firmware is running, and for a guest that boots.</returns>
    public static string? Describe(Boot boot) => boot switch
    {
        Boot.NothingToBoot =>
            "Its firmware (BIOS) finds nothing to boot on its disks: the console says 'No bootable device'. The image may need UEFI firmware, or contain no operating system: deploy another image.",
        Boot.Silent =>
            "Its firmware (BIOS) has started its disk, and nothing was printed on its serial console since. That is normal for a guest that does not use a serial console. An image that needs UEFI firmware "
            + "looks the same.",
        Boot.Starting or Boot.Booted => null,
    };

    /// <returns>The output after a text; null if the text does not occur.</returns>
    private static string? After(string printed, string text)
    {
        var at = printed.LastIndexOf(text, StringComparison.Ordinal);
        return at < 0 ? null : printed[(at + text.Length)..].Trim(' ', '\n', '\t', '\uFFFD');
    }

    /// <summary>Terminal sequences that move the cursor or clear the screen, with the escape character already replaced.</summary>
    [GeneratedRegex(@"\uFFFD(c|\[[0-9;?]*[A-Za-z]?)")]
    private static partial Regex TerminalSequence();
}

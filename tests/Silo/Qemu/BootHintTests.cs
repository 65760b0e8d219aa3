using Xunit;

namespace Instances.Qemu;

public sealed class BootHintTests
{
    private const string Firmware = "\uFFFDc\uFFFD[2JSeaBIOS (version 1.16.2-debian-1.16.2-1)\nMachine UUID 01a229e7\nBooting from Hard Disk...\n";

    [Theory]
    [InlineData("", "Starting")]
    [InlineData("\uFFFDc\uFFFD[?7l\uFFFD[2JSea", "Starting")]
    [InlineData("SeaBIOS (version 1.16.2)\n", "Starting")]
    [InlineData(Firmware + "Boot", "Starting")]
    [InlineData(Firmware + "Boot failed: not a bootable disk\n", "Starting")]
    [InlineData(Firmware, "Silent")]
    [InlineData(Firmware + "\uFFFDc\uFFFD[?", "Silent")]
    [InlineData(Firmware + "\nSYSLINUX 6.04", "Booted")]
    [InlineData(Firmware + "Boot failed: not a bootable disk\n\nNo bootable device.\n", "NothingToBoot")]
    [InlineData(Firmware + "Boot failed: not a bootable disk\n\nNo bootable device.\n" + Firmware + "GRUB loading.", "Booted")]
    [InlineData("web login: root\n" + Firmware + "Boot failed: not a bootable disk\n\nNo bootable device.\n", "NothingToBoot")]
    [InlineData("Printed so long after the lines of the firmware that these are not in sight any more.", "Booted")]
    public void Read_Console_IsAsTheTableSays(string console, string expected) => Assert.Equal(expected, BootHint.Read(console).ToString());
}

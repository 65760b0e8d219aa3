using System.Globalization;

namespace Instances.Testing;

/// <summary>The QEMU processes of a data folder, as the system shows them.</summary>
internal sealed class GuestProcesses(string dataFolder)
{
    public IReadOnlyList<int> Ids() =>
    [
        .. Directory.EnumerateDirectories("/proc")
            .Select(folder => int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : 0)
            .Where(id => id != 0 && IsGuest(id)).Order(),
    ];

    private bool IsGuest(int process)
    {
        try
        {
            var command = File.ReadAllText($"/proc/{process}/cmdline");
            return command.Contains("qemu-system", StringComparison.Ordinal) && command.Contains(dataFolder, StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}

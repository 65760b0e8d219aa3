using System.Text.Json;

namespace Instances.Qemu;

/// <summary>Errors of the host's disk, which pause the guest.</summary>
/// <remarks>
/// <para>QEMU repeats the failed requests when the guest resumes, so that a resume loses nothing, whether or not the disk works again.</para>
/// <para>A failed flush is different. The kernel may have dropped what it could not write, so QEMU lets every later flush of the file fail until it is started anew. It does not say so: the guest
/// is paused again at once, as by a disk that still fails. Whether the disk works cannot be asked on QEMU's behalf either, since root may write where a quota or reserved space stops QEMU.</para>
/// </remarks>
internal sealed partial class QemuMachine
{
    /// <summary>After so many failed resumes people are told what to do if the disk works.</summary>
    private const int ManyFailedResumes = 3;

    private const int MaxReasonCharacters = 200;

    /// <summary>A guest that runs for longer than this has had its requests carried out.</summary>
    private static readonly TimeSpan ResumeHolds = TimeSpan.FromSeconds(5);

    private bool _awaitsDisk;

    /// <summary>What the system said of the last error; null if no silo has heard it.</summary>
    private string? _diskError;

    /// <summary>When a guest was resumed that a disk had paused.</summary>
    private long? _resumedAt;
    private int _failedResumes;

    private static string? DiskErrorOf(QmpEvent happened) =>
        happened.Data.TryGetProperty("action", out var action) && action.ValueKind == JsonValueKind.String && action.ValueEquals("stop")
        && happened.Data.TryGetProperty("reason", out var reason) && reason.ValueKind == JsonValueKind.String
            ? ForeignText.Clean(reason.GetRawText().Trim('"'), MaxReasonCharacters)
            : null;

    /// <returns>What to tell people.</returns>
    private string SeeDiskError()
    {
        if (_resumedAt is { } at) _failedResumes = _host.Time.GetElapsedTime(at) < ResumeHolds ? _failedResumes + 1 : 0;
        (_resumedAt, _awaitsDisk) = (null, true);
        return $"QEMU has paused it, because a disk of its host failed{(_diskError is { } reason ? $" ({reason})" : "")}. Nothing is lost: free space on the host or repair its disk. "
            + "The host then resumes it within minutes, unless you have paused it, or at once when you resume it."
            + (_failedResumes < ManyFailedResumes
                ? ""
                : " If the disk works again and the machine stays paused, power it off and on: after a failed flush QEMU does not continue. Its guest then starts as after a power cut, with all that it had flushed.");
    }

    private void RequireDisk()
    {
        if (_awaitsDisk) throw QemuFaults.DiskFailed(_spec.Name, _diskError);
    }
}

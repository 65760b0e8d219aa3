using System.Text.Json;

namespace Instances.Qemu;

/// <summary>Disk errors of the host, which pause the guest.</summary>
/// <remarks>
/// <para>QEMU repeats the failed requests when the guest resumes, so that a resume loses nothing, whether or not the disk works again.</para>
/// <para>A failed flush is different. The kernel may have dropped data that it could not write, so QEMU lets every later flush of the file fail until QEMU is restarted. QEMU does not report this: the guest
/// is paused again at once, as with a disk that still fails. The silo cannot test the disk for QEMU either, because root can write where a quota or reserved space stops QEMU.</para>
/// </remarks>
internal sealed partial class QemuMachine
{
    /// <summary>After this number of failed resumes, the message also says what to do if the disk works.</summary>
    private const int ManyFailedResumes = 3;

    private const int MaxReasonCharacters = 200;

    /// <summary>If a guest runs for longer than this, its repeated requests have succeeded.</summary>
    private static readonly TimeSpan ResumeHolds = TimeSpan.FromSeconds(5);

    private bool _awaitsDisk;

    /// <summary>The system's text for the last error; null if no silo has received it.</summary>
    private string? _diskError;

    /// <summary>When the guest was last resumed after a disk error.</summary>
    private long? _resumedAt;
    private int _failedResumes;

    private static string? DiskErrorOf(QmpEvent happened) =>
        happened.Data.TryGetProperty("action", out var action) && action.ValueKind == JsonValueKind.String && action.ValueEquals("stop")
        && happened.Data.TryGetProperty("reason", out var reason) && reason.ValueKind == JsonValueKind.String
            ? ForeignText.Clean(reason.GetRawText().Trim('"'), MaxReasonCharacters)
            : null;

    /// <returns>The message for users.</returns>
    private string SeeDiskError()
    {
        if (_resumedAt is { } at) _failedResumes = _host.Time.GetElapsedTime(at) < ResumeHolds ? _failedResumes + 1 : 0;
        (_resumedAt, _awaitsDisk) = (null, true);
        return $"QEMU has paused it because a disk of its host failed{(_diskError is { } reason ? $" ({reason})" : "")}. Nothing is lost: free space on the host or repair its disk. "
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

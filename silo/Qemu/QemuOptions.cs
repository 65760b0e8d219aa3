using System.ComponentModel.DataAnnotations;

namespace Instances.Qemu;

internal sealed record QemuOptions
{
    public const string Section = "Qemu";

    /// <summary>Holds one folder for each machine. Created if it is missing.</summary>
    [Required]
    public string RunFolder { get; set; } = "data/run";

    /// <summary>The program, by name or path.</summary>
    [Required]
    public string Binary { get; set; } = "qemu-system-x86_64";

    /// <summary>The user that QEMU runs as if the silo is root. Empty gives each machine its own user; a name gives all machines that user; with <c>root</c>, a guest
    /// that breaks out of QEMU controls the host.</summary>
    [RegularExpression("[a-z_][a-z0-9_-]{0,31}")]
    public string RunAs { get; set; } = "";

    /// <summary>The first of the user ids for machines. The default range does not overlap those of Debian, systemd, subuid and directory services.</summary>
    [Range(1000, int.MaxValue)]
    public int FirstUid { get; set; } = 70_000;

    /// <summary>The number of user ids for machines, and so the most machines of this host.</summary>
    [Range(1, 1_000_000)]
    public int Uids { get; set; } = 20_000;

    public AcceleratorChoice Accelerator { get; set; } = AcceleratorChoice.Auto;

    /// <summary>Whether guests reach the network through the host, and with it every service that listens on the host's loopback address,
    /// including the silo itself. Port forwards into a guest work in either case.</summary>
    public bool GuestsReachNetwork { get; set; }

    /// <summary>The time from the start of QEMU to its answer on the control socket.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan StartBound { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The time for one command on the control socket.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan CommandBound { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>The time from the command to end to the end of the process. After it the process is killed.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan StopBound { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>A guest's clock stands still while it is paused. After a pause of at least this length it is set, through the guest agent.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan SetClockAfter { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The time for one attempt to thaw a guest, or to set its clock.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00")]
    public TimeSpan ThawBound { get; set; } = TimeSpan.FromSeconds(5);
}

internal enum AcceleratorChoice
{
    Auto,
    Kvm,
    Tcg,
}

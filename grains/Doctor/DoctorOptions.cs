using System.ComponentModel.DataAnnotations;

namespace Instances.Doctor;

/// <summary>Configuration section <c>Doctor</c>.</summary>
public sealed class DoctorOptions
{
    public const string Section = "Doctor";

    /// <summary>The time between the two snapshots: longer than the time between the creation of something and its first reference.</summary>
    [Range(typeof(TimeSpan), "00:00:00.01", "00:00:30")]
    public TimeSpan Grace { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>How long an operation may show no progress before the doctor reports it.</summary>
    [Range(typeof(TimeSpan), "00:00:10", "1.00:00:00")]
    public TimeSpan StallBound { get; set; } = TimeSpan.FromMinutes(10);
}

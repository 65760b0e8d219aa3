using System.ComponentModel.DataAnnotations;

namespace Instances.Doctor;

/// <summary>Configuration section <c>Doctor</c>.</summary>
public sealed class DoctorOptions
{
    public const string Section = "Doctor";

    /// <summary>How long after the first look the second one comes: longer than things are between being made and being referred to.</summary>
    [Range(typeof(TimeSpan), "00:00:00.01", "00:00:30")]
    public TimeSpan Grace { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>How long an operation may show no progress before that is a finding.</summary>
    [Range(typeof(TimeSpan), "00:00:10", "1.00:00:00")]
    public TimeSpan StallBound { get; set; } = TimeSpan.FromMinutes(10);
}

using System.ComponentModel.DataAnnotations;

namespace Instances.Requests;

internal sealed class RequestOptions
{
    public const string Section = "Requests";

    /// <summary>How long a request with an Idempotency-Key is remembered.</summary>
    [Range(typeof(TimeSpan), "01:00:00", "365.00:00:00")]
    public TimeSpan KeepFor { get; set; } = TimeSpan.FromDays(7);
}

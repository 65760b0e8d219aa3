using System.ComponentModel.DataAnnotations;

namespace Instances.Operations;

/// <summary>Configuration section <c>Operations</c>.</summary>
public sealed class OperationOptions
{
    /// <summary>How long an operation waits, before its commit point, for a host or another part of the datacenter that is unreachable, as when it is restarted.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:10:00")]
    public TimeSpan RestartPatience { get; set; } = TimeSpan.FromSeconds(30);
}

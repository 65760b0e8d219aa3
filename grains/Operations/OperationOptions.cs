using System.ComponentModel.DataAnnotations;

namespace Instances.Operations;

/// <summary>Configuration section <c>Operations</c>.</summary>
public sealed class OperationOptions
{
    /// <summary>How long an operation waits, before its commit point, for an unreachable host or silo, for example during its restart.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:10:00")]
    public TimeSpan RestartPatience { get; set; } = TimeSpan.FromSeconds(30);
}

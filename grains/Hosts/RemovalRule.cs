namespace Instances.Hosts;

/// <summary>How many machines a host removes by itself. More of them look like a loss of records, and wait for the operator.</summary>
internal static class RemovalRule
{
    /// <summary>So many are removed however few machines the host has.</summary>
    public const int Few = 5;

    /// <summary>Of a host's machines, at most one in so many is removed.</summary>
    public const int Share = 4;

    /// <summary>Removals within this time count together.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromHours(1);

    /// <param name="removals">Those that are wanted, and those that were carried out within the window.</param>
    /// <param name="machines">Those that the host has, and those that it had before these removals.</param>
    public static bool IsTooMany(int removals, int machines) => removals > Few && removals * Share > machines;
}

namespace Instances.Hosts;

/// <summary>How many machines a host removes without the operator. More removals look like a loss of records, and wait for the operator.</summary>
internal static class RemovalRule
{
    /// <summary>This number is always allowed, however few machines the host has.</summary>
    public const int Few = 5;

    /// <summary>Above <see cref="Few"/>, a host removes at most this fraction of its machines: 4 means a quarter.</summary>
    public const int Share = 4;

    /// <summary>Removals within this time count together.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromHours(1);

    /// <param name="removals">The pending removals, and those of the window.</param>
    /// <param name="machines">The machines of the host, including those removed within the window.</param>
    public static bool IsTooMany(int removals, int machines) => removals > Few && removals * Share > machines;
}

namespace Instances.Testing;

internal static class Bounds
{
    /// <summary>How long a test waits for what must happen: long enough for a loaded machine, since only a failing test waits it out.</summary>
    public static readonly TimeSpan Wait = TimeSpan.FromSeconds(60);
}

namespace Instances.Testing;

internal static class Bounds
{
    /// <summary>How long a test waits for what must happen. Only a failing test waits that long, so the bound suits a slow machine under load.</summary>
    public static readonly TimeSpan Wait = TimeSpan.FromMinutes(5);
}

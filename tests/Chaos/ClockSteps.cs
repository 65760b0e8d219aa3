namespace Instances.Chaos;

/// <summary>The clocks of single silos, set forward and back while they run. The library <c>libfaketime</c> adds an offset from a file to each clock. Timers are not affected, because they count from the start of the system.</summary>
internal static class ClockSteps
{
    private const string Library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

    /// <summary>How far a clock is set, in seconds. A sync with a time server after a long time without one makes steps like these.</summary>
    private static readonly int[] Steps = [-600, -60, -5, 5, 60, 600];

    public static bool CanChange => File.Exists(Library);

    /// <summary>The environment of a silo that allows to set its clock later.</summary>
    public static IReadOnlyDictionary<string, string> Environment(string folder, string silo)
    {
        if (!CanChange) return new Dictionary<string, string>();
        Write(folder, silo, 0);
        return new Dictionary<string, string>
        {
            ["LD_PRELOAD"] = Library,
            ["FAKETIME_TIMESTAMP_FILE"] = FileOf(folder, silo),
            ["FAKETIME_CACHE_DURATION"] = "1",
            ["FAKETIME_DONT_RESET"] = "1",
            // Without the last variable, bounded waits end at once: the library would also change the clock that .NET uses for waits.
            ["FAKETIME_DONT_FAKE_MONOTONIC"] = "1",
            ["FAKETIME_FORCE_MONOTONIC_FIX"] = "0",
        };
    }

    public static int Choose(Random random) => Steps[random.Next(Steps.Length)];

    /// <param name="seconds">How far the silo's clock is ahead of the machine's; negative if it is behind.</param>
    public static void Write(string folder, string silo, int seconds)
    {
        var file = FileOf(folder, silo);
        File.WriteAllText(file + ".new", $"{seconds:+0;-0;+0}\n");
        File.Move(file + ".new", file, overwrite: true);
    }

    private static string FileOf(string folder, string silo) => Path.Combine(folder, $"{silo}.clock");
}

namespace Instances.Chaos;

/// <summary>The clocks of silos, which a run steps forward and back: libfaketime reads the difference to the real time from a file for each silo.</summary>
internal sealed class Clocks
{
    private static readonly string? s_library = Directory.Exists("/usr/lib")
        ? Directory.EnumerateFiles("/usr/lib", "libfaketimeMT.so.1", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 3 }).FirstOrDefault()
        : null;

    private readonly string _folder = Directory.CreateTempSubdirectory("clocks-").FullName;

    /// <summary>Whether libfaketime is installed (Debian's package <c>libfaketime</c>).</summary>
    public static bool CanStep => s_library is not null;

    /// <summary>The environment of a silo whose clock can be stepped.</summary>
    public IReadOnlyDictionary<string, string> EnvironmentOf(string silo)
    {
        if (!CanStep) return new Dictionary<string, string>();
        Step(silo, TimeSpan.Zero);
        return new Dictionary<string, string>
        {
            ["LD_PRELOAD"] = s_library!,
            ["FAKETIME_TIMESTAMP_FILE"] = FileOf(silo),
            ["FAKETIME_CACHE_DURATION"] = "1",
            ["FAKETIME_DONT_FAKE_MONOTONIC"] = "1",
        };
    }

    /// <param name="offset">From the real time, in whole seconds.</param>
    public void Step(string silo, TimeSpan offset)
    {
        // One rename: the silo never reads half a number.
        var unfinished = FileOf(silo) + ".new";
        File.WriteAllText(unfinished, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{offset.TotalSeconds:+0;-0;+0}"));
        File.Move(unfinished, FileOf(silo), overwrite: true);
    }

    private string FileOf(string silo) => Path.Combine(_folder, silo);
}

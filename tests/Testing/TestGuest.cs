using System.Diagnostics;

namespace Instances.Testing;

/// <summary>A small Linux that boots in a few seconds: a qcow2 file that is never written.</summary>
public static class TestGuest
{
    private const string Variable = "INSTANCES_TEST_GUEST";
    private static readonly TimeSpan BuildBound = TimeSpan.FromMinutes(5);
    private static readonly Lazy<Task<string>> Built = new(Find);

    /// <summary>From the variable INSTANCES_TEST_GUEST, else built once into the repository's artifacts.</summary>
    public static Task<string> Path => Built.Value;

    private static async Task<string> Find()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } given)
            return File.Exists(given) ? given : throw new FileNotFoundException($"{Variable} names {given}, which is not there.");
        var folder = System.IO.Path.Combine(Repository.Root, "artifacts", "guest");
        var image = System.IO.Path.Combine(folder, "tiny-linux.qcow2");
        Directory.CreateDirectory(folder);
        // Test projects run in parallel: one of them builds it, the others wait.
        await using var alone = await Lock(System.IO.Path.Combine(folder, ".lock"));
        if (!File.Exists(image)) await Build(image);
        return image;
    }

    private static async Task Build(string image)
    {
        var script = System.IO.Path.Combine(Repository.Root, "silo", "guest-image", "build.sh");
        using var process = Process.Start(new ProcessStartInfo("bash", [script, "--output", image]) { RedirectStandardError = true })!;
        using var bound = new CancellationTokenSource(BuildBound);
        var said = process.StandardError.ReadToEndAsync(bound.Token);
        await process.WaitForExitAsync(bound.Token);
        if (process.ExitCode != 0) throw new InvalidOperationException($"{script} failed: {await said}");
    }

    private static async Task<FileStream> Lock(string path)
    {
        using var bound = new CancellationTokenSource(BuildBound);
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(200), bound.Token);
            }
        }
    }
}

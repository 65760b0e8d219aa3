using System.Diagnostics;
using Instances.Library.Transfer;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Instances.Library;

/// <summary>A layer store in a folder of its own.</summary>
internal sealed class TestLibrary : IDisposable
{
    private static readonly Lazy<ProcessConfinement> s_confinement = new(() => new(NullLogger<ProcessConfinement>.Instance));

    private readonly string _folder = Testing.MemoryFolder.Create("library-");
    private readonly bool _isMounted;
    private readonly LayerStoreOptions _options;

    public TestLibrary(long? tmpfsBytes = null, long minimumFreeBytes = 0)
    {
        if (tmpfsBytes is { } bytes)
        {
            Run("mount", "-t", "tmpfs", "-o", $"size={bytes}", "tmpfs", _folder);
            _isMounted = true;
        }

        Tools = new QemuImg(Confinement);
        // Else the unprivileged user cannot pass through it.
        UnixFiles.ChangeMode(_folder, (UnixFileMode)0b111_101_101);
        _options = new() { MinimumFreeBytes = minimumFreeBytes };
        Store = Open();
    }

    public FolderLibraryStore Store { get; }

    /// <summary>One for all: each runs programs to find out what this system permits.</summary>
    public ProcessConfinement Confinement => s_confinement.Value;

    public QemuImg Tools { get; }

    public List<string> Log { get; } = [];

    /// <summary>As a silo that is started does.</summary>
    public FolderLibraryStore Open() => new(_folder, _options, Tools, TestTransfers.Over(_options), new ListLogger<FolderLibraryStore>(Log));

    public static string QemuImg(params string[] arguments) => Run("qemu-img", arguments);

    public static string Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {process.StandardError.ReadToEnd()}");
        return output;
    }

    public void Dispose()
    {
        if (_isMounted)
            Run("umount", _folder);
        Directory.Delete(_folder, recursive: true);
    }

    private sealed class ListLogger<T>(List<string> log) : ILogger<T>
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            log.Add(formatter(state, exception));
    }
}

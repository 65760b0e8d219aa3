using Instances.Faults;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>The files of this machine that may be imported by their paths.</summary>
internal sealed class ImportFolders(IOptions<ImportOptions> options)
{
    private readonly string[] _folders = [.. options.Value.AllowedFolders.Select(folder => Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)) + "/")];

    /// <summary>Opens a file for reading. All that is decided is decided by what was opened: a file that is swapped behind a look changes nothing.</summary>
    /// <exception cref="FaultException">path-not-allowed; file-in-use.</exception>
    public (SafeFileHandle File, FileFacts Facts) Open(string path)
    {
        if (Array.Find(_folders, folder => path.StartsWith(folder, StringComparison.Ordinal)) is not { } allowed || !IsPlain(path[allowed.Length..])) throw ImportFaults.PathNotAllowed();
        SafeFileHandle? file = null;
        try
        {
            file = UnixFiles.OpenBeneath(allowed, path[allowed.Length..]);
            var facts = UnixFiles.FactsOf(file);
            // A second name may be one of a file that this folder was never meant to hold.
            if (facts is not { IsRegular: true, Links: 1 }) throw ImportFaults.PathNotAllowed();
            return UnixFiles.IsWrittenByQemu(file) ? throw ImportFaults.FileInUse() : (file, facts);
        }
        catch (Exception exception)
        {
            file?.Dispose();
            throw exception is IOException ? ImportFaults.PathNotAllowed(exception) : exception;
        }
    }

    private static bool IsPlain(string path) => !path.Contains('\0') && path.Split('/').All(part => part is not ("" or "." or ".."));
}

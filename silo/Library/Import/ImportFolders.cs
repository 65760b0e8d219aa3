using Instances.Faults;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>The files of this machine that may be imported by their paths.</summary>
internal sealed class ImportFolders(IOptions<ImportOptions> options)
{
    private readonly string[] _folders = [.. options.Value.AllowedFolders.Select(folder => Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)) + "/")];

    /// <summary>Opens a file for reading. All checks use the open file, so that swapping the file after a check has no effect.</summary>
    /// <exception cref="FaultException">path-not-allowed; file-in-use.</exception>
    public (SafeFileHandle File, FileFacts Facts) Open(string path)
    {
        if (Array.Find(_folders, folder => path.StartsWith(folder, StringComparison.Ordinal)) is not { } allowed || !IsPlain(path[allowed.Length..])) throw ImportFaults.PathNotAllowed();
        SafeFileHandle? file = null;
        try
        {
            file = UnixFiles.OpenBeneath(allowed, path[allowed.Length..]);
            var facts = UnixFiles.FactsOf(file);
            // A file with a second hard link may not belong in this folder.
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

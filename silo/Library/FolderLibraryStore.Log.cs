namespace Instances.Library;

internal sealed partial class FolderLibraryStore
{
    [LoggerMessage(LogLevel.Error, "The manifest {Path} cannot be read: its image is missing from the files' point of view. Restore it, or delete it.")]
    private partial void LogBrokenManifest(string path, Exception exception);

    [LoggerMessage(LogLevel.Error, "The file {Path} cannot be read: which database the library belongs to is not known, and nothing is removed from it. Rebuild the library.")]
    private partial void LogBrokenBinding(string path, Exception exception);
}

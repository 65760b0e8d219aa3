namespace Instances.Library;

internal sealed partial class FolderLibraryStore
{
    [LoggerMessage(LogLevel.Error, "The manifest {Path} cannot be read: its image is missing from the files' point of view. Restore it, or delete it.")]
    private partial void LogBrokenManifest(string path, Exception exception);
}

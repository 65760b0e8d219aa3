namespace Instances.Library;

internal sealed partial class FolderLibraryStore
{
    [LoggerMessage(LogLevel.Error, "The manifest {Path} cannot be read: a rebuild from files would not find its image. Restore the file, or delete it")]
    private partial void LogBrokenManifest(string path, Exception exception);

    [LoggerMessage(LogLevel.Error, "The file {Path} cannot be read: it is not known which database the library belongs to, and nothing is removed from the library. Rebuild the library")]
    private partial void LogBrokenBinding(string path, Exception exception);
}

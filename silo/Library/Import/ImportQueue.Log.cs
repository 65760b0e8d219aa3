namespace Instances.Library.Import;

internal sealed partial class ImportQueue
{
    [LoggerMessage(LogLevel.Information, "Imported image {Image} from an upload of {Bytes} bytes. Accepted by its image, if that is known: {IsReady}")]
    private partial void LogImported(ImageId image, long bytes, bool? isReady);

    [LoggerMessage(LogLevel.Information, "The import of image {Image} was cancelled; nothing of it is left.")]
    private partial void LogCancelled(ImageId image);

    [LoggerMessage(LogLevel.Information, "The import of image {Image} was interrupted: this silo ends")]
    private partial void LogInterrupted(ImageId image);

    [LoggerMessage(LogLevel.Information, "The import of image {Image} ended with {Code}: {Reason}")]
    private partial void LogRefused(ImageId image, string code, string reason);

    [LoggerMessage(LogLevel.Error, "The import of image {Image} failed.")]
    private partial void LogFailed(ImageId image, Exception exception);

    [LoggerMessage(LogLevel.Error, "The progress of the waiting upload of image {Image} could not be reported.")]
    private partial void LogNotReported(ImageId image, Exception exception);

    [LoggerMessage(LogLevel.Information, "The import of image {Image} cannot be resumed if this silo ends: {Reason}")]
    private partial void LogNotMarked(ImageId image, string reason);

    [LoggerMessage(LogLevel.Warning, "The result of the import of image {Image} could not be reported (attempt {Attempt}).")]
    private partial void LogNotTold(ImageId image, int attempt, Exception exception);
}

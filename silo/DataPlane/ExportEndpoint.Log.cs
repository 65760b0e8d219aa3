namespace Instances.DataPlane;

internal sealed partial class ExportEndpoint
{
    [LoggerMessage(LogLevel.Information, "Exported the image {Image} as {File}: {Bytes} bytes in {Seconds:0.0} s.")]
    private static partial void LogExported(ILogger logger, Library.ImageId image, string file, long bytes, double seconds);

    [LoggerMessage(LogLevel.Information, "The receiver of the image {Image} disconnected after {Bytes} bytes")]
    private static partial void LogLeft(ILogger logger, Library.ImageId image, long bytes);

    [LoggerMessage(LogLevel.Error, "The export of the image {Image} broke off after {Bytes} bytes.")]
    private static partial void LogBroken(ILogger logger, Exception cause, Library.ImageId image, long bytes);
}

namespace Instances.Storage;

internal sealed partial class DatabaseCatalogue
{
    [LoggerMessage(LogLevel.Warning, "{View} {Id} is left out of a list: a later release wrote it, and this one cannot read it: {Reason}")]
    private partial void LogUnreadable(string view, string id, string reason);
}

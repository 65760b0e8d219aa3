namespace Instances.Storage;

internal sealed partial class DatabaseCatalogue
{
    [LoggerMessage(LogLevel.Warning, "{View} {Id} was left out of a list, because a later release wrote it and this one cannot read it: {Reason}")]
    private partial void LogUnreadable(string view, string id, string reason);
}

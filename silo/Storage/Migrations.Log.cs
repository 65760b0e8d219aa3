using DbUp.Engine.Output;

namespace Instances.Storage;

internal static partial class Migrations
{
    [LoggerMessage(LogLevel.Information, "Applied {Script} to {Database}")]
    private static partial void LogApplied(ILogger logger, string script, string database);

    [LoggerMessage(LogLevel.Warning, "The migration of {Database} waits for another session that has locked a table: {Reason}")]
    private static partial void LogWaits(ILogger logger, string database, string reason);

    [LoggerMessage(LogLevel.Debug, "DbUp: {Message}")]
    private static partial void LogDetail(ILogger logger, string message);

    /// <summary>The library's own messages are details: applied scripts are logged once here, and a failure is thrown.</summary>
    private sealed class MigrationLog(ILogger logger) : IUpgradeLog
    {
        public void LogTrace(string format, params object[] args) => Write(format, args);

        public void LogDebug(string format, params object[] args) => Write(format, args);

        public void LogInformation(string format, params object[] args) => Write(format, args);

        public void LogWarning(string format, params object[] args) => Write(format, args);

        public void LogError(string format, params object[] args) => Write(format, args);

        public void LogError(Exception ex, string format, params object[] args) => Write(format, args);

        private void Write(string format, object[] args)
        {
            if (logger.IsEnabled(LogLevel.Debug))
                LogDetail(logger, args.Length == 0 ? format : string.Format(null, format, args));
        }
    }
}

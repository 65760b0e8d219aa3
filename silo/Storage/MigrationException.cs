namespace Instances.Storage;

/// <summary>The database is not in the form that this release needs, and could not be brought to it.</summary>
internal sealed class MigrationException(string message, Exception cause) : Exception(message, cause);

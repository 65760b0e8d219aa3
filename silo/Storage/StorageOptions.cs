using System.ComponentModel.DataAnnotations;
using Npgsql;

namespace Instances.Storage;

/// <summary>Configuration section <c>Storage</c>.</summary>
internal sealed class StorageOptions : IValidatableObject
{
    public const string Section = "Storage";

    public StorageProvider Provider { get; set; }

    /// <summary>For PostgreSQL, in Npgsql's syntax, such as <c>Host=db.example;Database=instances;Username=instances;Password=…</c>. The database must exist.</summary>
    public string ConnectionString { get; set; } = "";

    /// <summary>Connections of this process to PostgreSQL at a time.</summary>
    [Range(2, 1000)]
    public int MaxConnections { get; set; } = 20;

    /// <summary>SQLite: the size of the reserve for a full disk. 0 for none.</summary>
    [Range(0, 1L << 40)]
    public long ReserveBytes { get; set; } = 32L << 20;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext) => Provider switch
    {
        StorageProvider.Sqlite when ConnectionString.Length > 0 => [Wrong("is for PostgreSQL: set Storage:Provider=PostgreSql, or leave it out")],
        StorageProvider.PostgreSql when ConnectionString.Length == 0 => [Wrong("is missing: PostgreSQL needs Host, Database and Username")],
        StorageProvider.PostgreSql when WhatIsWrong() is { } reason => [Wrong(reason)],
        _ => [],
    };

    /// <summary>The message contains only names of settings, because the string contains a password.</summary>
    private string? WhatIsWrong()
    {
        try
        {
            var settings = new NpgsqlConnectionStringBuilder(ConnectionString);
            return string.IsNullOrEmpty(settings.Host) || string.IsNullOrEmpty(settings.Database) ? "names no Host or no Database" : null;
        }
        catch (Exception exception) when (exception is ArgumentException or FormatException)
        {
            return $"cannot be read ({exception.Message})";
        }
    }

    private static ValidationResult Wrong(string what) => new($"{Section}:{nameof(ConnectionString)} {what}.", [nameof(ConnectionString)]);
}

internal enum StorageProvider
{
    /// <summary>A file in the data folder.</summary>
    Sqlite,
    PostgreSql,
}

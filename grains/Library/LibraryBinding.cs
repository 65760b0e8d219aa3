using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The database that a library's folder belongs to. It is stored twice: in the folder beside the manifests, and in the library's record.</summary>
/// <remarks>
/// Without it, every image in the folder would be an orphan of an empty database, or of an old one from a backup, and the next sweep would delete them all.
/// The database's number is raised and stored before the folder's. So the folder's number is never higher than that of its own database.
/// </remarks>
/// <param name="Database">Created when the first library was bound to it.</param>
/// <param name="Number">Raised by every sweep and rebuild. A folder with a higher one than the database's has seen a later state of that database.</param>
public sealed record LibraryBinding(Guid Database, long Number)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>Belongs to no database.</summary>
    public static LibraryBinding Unreadable { get; } = new(Guid.Empty, 0);

    /// <summary>Why this folder is not the database's, or null if it is.</summary>
    /// <param name="folder">Null for a folder that was never bound.</param>
    /// <param name="database">Null for a database that was never bound.</param>
    /// <param name="manifests">The images that have manifests in the folder. Without any there is nothing to lose, and any database can take the folder.</param>
    /// <param name="known">The images that have records.</param>
    public static string? FindStranger(LibraryBinding? folder, LibraryBinding? database, IReadOnlyCollection<ImageId> manifests, IReadOnlySet<ImageId> known) =>
        (folder, database) switch
        {
            _ when IsBound(folder, database) => folder!.Number <= database!.Number ? null
                : $"The library was last used with a later state of this database ({folder.Number}, and the database is at {database.Number}): the database was restored from a backup.",
            _ when manifests.Count == 0 => null,
            (null, _) => manifests.Any(known.Contains) ? null : $"The library has manifests of {manifests.Count} images, and the database knows none of them.",
            _ => $"The library belongs to another database, and has manifests of {manifests.Count} images: the database was lost, or this is the folder of another datacenter.",
        };

    /// <summary>Both belong to the same database.</summary>
    public static bool IsBound(LibraryBinding? folder, LibraryBinding? database) => folder is not null && folder.Database == database?.Database;
}

namespace Instances.Hosts;

/// <summary>The database that a host's machines belong to. It is stored twice: in a file beside the run folders, and in the database.</summary>
/// <remarks>
/// Without it, every machine of the host would be an orphan of an empty database, or of an old one from a backup, and the host would remove them all. The
/// database's number is raised before the host's, at the silo's start and with each deployment. So the host's number is never higher than that of its own database.
/// </remarks>
/// <param name="Database">Created with the database.</param>
public sealed record HostBinding(Guid Database, long Number)
{
    /// <summary>Belongs to no database.</summary>
    public static HostBinding Unreadable { get; } = new(Guid.Empty, 0);

    /// <summary>Why the host's machines are not the database's, or null if they are.</summary>
    /// <param name="host">Null for a host that was never bound.</param>
    /// <param name="machines">The number of machines on the host. Without machines there is nothing to lose.</param>
    /// <param name="isAnyKnown">Whether the database has a record of one of them. Decides only for a host that was never bound.</param>
    public static string? FindStranger(HostBinding? host, HostBinding database, int machines, bool isAnyKnown) => host switch
    {
        _ when machines == 0 => null,
        null => isAnyKnown ? null : $"The host has {machines} virtual machines, and the database knows none of them.",
        _ when host.Database == database.Database => host.Number <= database.Number ? null
            : $"The host was last used with a later state of this database ({host.Number}, and the database is at {database.Number}): the database was restored from a backup.",
        _ => $"The host has {machines} virtual machines of another database: the database was lost, or Storage:ConnectionString names another one.",
    };
}

/// <summary>The bindings in the database.</summary>
public interface IHostBindings
{
    /// <summary>The database's identity, and the number that it has for a host; 0 if it has none.</summary>
    Task<HostBinding> Find(HostId host);

    /// <summary>Raises the number above its current value and above <paramref name="above"/>. Durable when it returns.</summary>
    Task<HostBinding> Raise(HostId host, long above);
}

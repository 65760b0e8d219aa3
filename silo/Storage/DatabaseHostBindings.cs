using System.Data.Common;
using System.Globalization;
using Dapper;
using Instances.Hosts;

namespace Instances.Storage;

/// <summary>The table <c>database_fact</c>: the database's identity, and a number for each host.</summary>
internal sealed class DatabaseHostBindings(IDatabase database) : IHostBindings
{
    private const string Identity = "identity";

    private const string Insert = "INSERT INTO database_fact (name, value) VALUES (@name, @value) ON CONFLICT (name) DO NOTHING";

    private const string Select = "SELECT value FROM database_fact WHERE name = @name";

    public Task<HostBinding> Find(HostId host) => Guard(async connection =>
    {
        // An identity that is there is only read: what runs on a host has to be found on a full disk, too.
        if (await Read(connection, Identity) is null) await connection.ExecuteAsync(Insert, new { name = Identity, value = $"{Guid.NewGuid()}" });
        return new HostBinding(Guid.Parse((await Read(connection, Identity))!), await ReadNumber(connection, host));
    });

    public Task<HostBinding> Raise(HostId host, long above) => Guard(async connection =>
    {
        // A host has one silo, which is the only writer of its row.
        var number = Math.Max(await ReadNumber(connection, host), above) + 1;
        await connection.ExecuteAsync(
            "INSERT INTO database_fact (name, value) VALUES (@name, @value) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            new { name = NameOf(host), value = number.ToString(CultureInfo.InvariantCulture) });
        return new HostBinding(Guid.Parse((await Read(connection, Identity))!), number);
    });

    private static async Task<long> ReadNumber(DbConnection connection, HostId host) =>
        await Read(connection, NameOf(host)) is { } number ? long.Parse(number, CultureInfo.InvariantCulture) : 0;

    private static Task<string?> Read(DbConnection connection, string name) => connection.QuerySingleOrDefaultAsync<string?>(Select, new { name });

    private static string NameOf(HostId host) => $"host/{host}";

    private async Task<HostBinding> Guard(Func<DbConnection, Task<HostBinding>> use)
    {
        try
        {
            await using var connection = await database.DataSource.OpenConnectionAsync();
            return await use(connection);
        }
        catch (DbException exception)
        {
            throw DatabaseFaults.ToFault(exception);
        }
    }
}

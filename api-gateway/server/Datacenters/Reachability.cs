using Instances.Catalogue;
using Instances.Faults;
using Instances.Problems;

namespace Instances.Datacenters;

/// <param name="Name">As in the paths below it.</param>
/// <param name="Reachable">Whether its cluster and its database answered at the moment.</param>
internal sealed record DatacenterView(string Name, bool Reachable);

/// <summary>Checks whether datacenters are reachable, with the cheapest call that needs both a silo and the database.</summary>
internal static class Reachability
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(2);
    private static readonly PageRequest OneRow = new(Limit: 1);

    public static Task<DatacenterView[]> Probe(this DatacenterDirectory directory, TimeProvider clock, CancellationToken cancellationToken) =>
        Task.WhenAll(directory.All
            .OrderBy(connection => connection.Name, StringComparer.Ordinal)
            .Select(async connection => new DatacenterView(connection.Name, await Answers(connection, clock, cancellationToken))));

    private static async Task<bool> Answers(IDatacenterConnection connection, TimeProvider clock, CancellationToken cancellationToken)
    {
        try
        {
            await connection.Client.GetGrain<ICatalogueGrain>(0).Appliances(enterprise: null, OneRow).WaitAsync(Bound, clock, cancellationToken);
            return true;
        }
        catch (Exception exception) when (exception is FaultException or ArgumentException || Interruptions.IsInterruption(exception))
        {
            return false;
        }
    }
}

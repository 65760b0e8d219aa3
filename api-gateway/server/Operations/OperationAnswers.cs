using Instances.Datacenters;
using Instances.Faults;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Operations;

internal static class OperationAnswers
{
    public static Accepted<OperationView> Accepted(this Datacenter datacenter, OperationView operation) =>
        TypedResults.Accepted(datacenter.OperationUrl(operation.Id), operation);

    public static string OperationUrl(this Datacenter datacenter, OperationId id) => datacenter.Url($"operations/{id}");

    /// <summary>Starts an operation, or finds the one that an earlier request with the same key started.</summary>
    /// <param name="matches">Whether the earlier one can have come from this request; left out where the request is nothing but its path.</param>
    /// <exception cref="FaultException">idempotency-key-reused, and what <paramref name="start"/> throws.</exception>
    public static async Task<OperationView> Once(
        this Datacenter datacenter, RequestKey key, Func<OperationId, Task<OperationView>> start, Func<OperationView, bool>? matches = null)
    {
        var id = key.NewId<OperationId>();
        if (!key.IsGiven || await datacenter.Operation(id).Find() is not { } earlier) return await start(id);
        return matches?.Invoke(earlier) is false ? throw RequestKey.Reused() : earlier;
    }

    /// <exception cref="FaultException">operation-not-found.</exception>
    public static async Task<OperationView> GetOperation(this Datacenter datacenter, OperationId id) =>
        await datacenter.Operation(id).Find()
        ?? throw FaultException.NotFound("operation-not-found", $"There is no operation {id} in the datacenter '{datacenter.Name}'.");
}

using Instances.Datacenters;
using Instances.Faults;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Operations;

internal static class OperationAnswers
{
    public static Accepted<OperationView> Accepted(this Datacenter datacenter, OperationView operation) =>
        TypedResults.Accepted(datacenter.OperationUrl(operation.Id), operation);

    public static string OperationUrl(this Datacenter datacenter, OperationId id) => datacenter.Url($"operations/{id}");

    /// <exception cref="FaultException">operation-not-found.</exception>
    public static async Task<OperationView> GetOperation(this Datacenter datacenter, OperationId id) =>
        await datacenter.Operation(id).Find()
        ?? throw FaultException.NotFound("operation-not-found", $"There is no operation {id} in the datacenter '{datacenter.Name}'.");
}

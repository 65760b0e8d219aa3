using Instances.Faults;

namespace Instances.Requests;

/// <summary>Remembers the ids of deleted resources. A POST with an Idempotency-Key derives the id of its resource from the key. If its answer was not recorded and the resource was
/// deleted, a repeat must not create the resource again.</summary>
/// <remarks>An id is kept as an answered request of the same id, so that it is forgotten together with the requests: after <see cref="RequestOptions.KeepFor"/>.</remarks>
internal static class DeletedIds
{
    /// <summary>The version of the UUIDs that gateways derive from keys. Other ids are never used twice.</summary>
    private const int DerivedVersion = 8;

    private const int Gone = 410;

    private const string Fingerprint = "deleted";

    private static readonly RequestAnswer Deleted = new(Gone, new Dictionary<string, string>(), "");

    /// <summary>Call it before the record of the resource is deleted.</summary>
    public static Task KeepDeleted(this IGrainFactory grains, Guid id) =>
        id.Version == DerivedVersion ? grains.Request(new(id)).Answer(Guid.NewGuid(), Fingerprint, Deleted) : Task.CompletedTask;

    /// <param name="code">Of the refusal.</param>
    /// <param name="resource">With its article, such as "an appliance".</param>
    /// <exception cref="FaultException">The id belonged to a resource that was deleted.</exception>
    public static async Task RequireNotDeleted(this IGrainFactory grains, Guid id, string code, string resource)
    {
        if (id.Version != DerivedVersion || (await grains.Request(new(id)).Begin(Fingerprint, Guid.NewGuid(), isUpload: false)).Kind is not RequestTurnKind.Answered) return;
        throw FaultException.Conflict(code, $"The Idempotency-Key was used before: it created {resource}, which was deleted since. Use a new key to create another one.");
    }
}

using Instances.Faults;
using Orleans.Runtime;

namespace Instances.Enterprises;

internal static class EnterpriseClaims
{
    /// <summary>Makes a record of an enterprise's appliance or image if its quotas have room for it. From the call on, others find the room taken: by the claim, or by the record.
    /// If the claim was lost before the record was there, others may have been admitted in its place: the quotas are checked again, with the record.</summary>
    /// <param name="takeBack">Undoes the record if the quotas have no room for it any more; null if the record stands then.</param>
    /// <exception cref="FaultException">As of <see cref="IEnterpriseGrain.Admit"/>; nothing was recorded then, or it was taken back.</exception>
    public static async Task<T> Claim<T>(
        this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task<T>> record, Func<Fault, Task>? takeBack, EnterpriseUsage? held = null)
    {
        var owner = grains.Enterprise(enterprise);
        await owner.Admit(claimant, demand, held);
        T made;
        try
        {
            made = await record();
        }
        catch
        {
            await GiveBack(owner, claimant);
            throw;
        }

        if (await GiveBack(owner, claimant) || takeBack is null) return made;
        try
        {
            await owner.Admit(claimant, demand, held);
            await GiveBack(owner, claimant);
        }
        catch (FaultException refusal) when (refusal.Fault.Kind is FaultKind.Capacity or FaultKind.NotFound)
        {
            await takeBack(refusal.Fault);
            throw;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            // It was admitted once. The enterprise cannot be asked at the moment, and what was recorded counts.
        }

        return made;
    }

    /// <inheritdoc cref="Claim{T}"/>
    public static Task Claim(
        this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task> record, Func<Fault, Task>? takeBack, EnterpriseUsage? held = null) =>
        grains.Claim(
            enterprise, claimant, demand, async () =>
            {
                await record();
                return true;
            },
            takeBack, held);

    /// <returns>Whether the claim was held until now; false also if that is not known.</returns>
    private static async Task<bool> GiveBack(IEnterpriseGrain owner, Guid claimant)
    {
        try
        {
            return await owner.Admitted(claimant);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            return false;
        }
    }
}

using Instances.Faults;
using Orleans.Runtime;

namespace Instances.Enterprises;

internal static class EnterpriseClaims
{
    /// <summary>Writes a record of an enterprise's appliance or image if it fits the quotas. During the call the claim counts, and then the record.
    /// If the claim was lost before the record was written, others may have been admitted instead: then the quotas are checked again, with the record.</summary>
    /// <param name="takeBack">Undoes the record if it does not fit the quotas any more, and returns false if it is too late for that; null to keep the record in that case.</param>
    /// <exception cref="FaultException">As of <see cref="IEnterpriseGrain.Admit"/>; then nothing is recorded.</exception>
    public static async Task<T> Claim<T>(
        this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task<T>> record, Func<Fault, Task<bool>>? takeBack, EnterpriseUsage? held = null)
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
            if (await takeBack(refusal.Fault)) throw;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            // It was admitted once. The enterprise is unreachable at the moment, and the record counts.
        }

        return made;
    }

    /// <inheritdoc cref="Claim{T}"/>
    public static Task Claim(
        this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task> record, Func<Fault, Task<bool>>? takeBack, EnterpriseUsage? held = null) =>
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

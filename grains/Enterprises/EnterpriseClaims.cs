using Instances.Faults;
using Orleans.Runtime;

namespace Instances.Enterprises;

internal static class EnterpriseClaims
{
    /// <summary>Makes a record of an enterprise's appliance or image where its quotas have room for it. From the call on, whoever else asks finds the room taken: by the claim,
    /// or by the record.</summary>
    /// <exception cref="FaultException">As of <see cref="IEnterpriseGrain.Admit"/>; nothing was recorded then.</exception>
    public static async Task<T> Claim<T>(
        this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task<T>> record, EnterpriseUsage? held = null)
    {
        var owner = grains.Enterprise(enterprise);
        await owner.Admit(claimant, demand, held);
        try
        {
            return await record();
        }
        finally
        {
            await GiveBack(owner, claimant);
        }
    }

    /// <summary>What was recorded stands, whether this gets through or not: a claim goes by itself, too.</summary>
    private static async Task GiveBack(IEnterpriseGrain owner, Guid claimant)
    {
        try
        {
            await owner.Admitted(claimant);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
        }
    }

    /// <inheritdoc cref="Claim{T}"/>
    public static Task Claim(this IGrainFactory grains, EnterpriseId enterprise, Guid claimant, EnterpriseUsage demand, Func<Task> record, EnterpriseUsage? held = null) =>
        grains.Claim(
            enterprise, claimant, demand, async () =>
            {
                await record();
                return true;
            },
            held);
}

using Instances.Faults;

namespace Instances.Enterprises;

/// <summary>An enterprise in this datacenter: it owns appliances and images, and has quotas. The default one is there without being made.</summary>
/// <remarks>
/// <para>Each datacenter keeps its own record of an enterprise, with its own quotas: it continues when the others are cut off, and there is nothing above them that could be
/// asked. An enterprise of several datacenters has the same id in each.</para>
/// <para>What an enterprise has is summed from the catalogue whenever somebody asks, so that no crash leaves anything taken. Only what was admitted and has no record yet
/// is kept here, in memory and for a minute at most; calls take turns, so that of several that come together no more are admitted than there is room for. A claim can be lost,
/// with its silo for example: <see cref="Admitted"/> tells.</para>
/// </remarks>
[Alias("instances.IEnterpriseGrain")]
public interface IEnterpriseGrain : IGrainWithGuidKey
{
    /// <summary>Idempotent for an equal specification.</summary>
    /// <exception cref="FaultException">name-invalid; quota-invalid; enterprise-exists if it has another specification.</exception>
    [Alias("Create")]
    Task<EnterpriseView> Create(EnterpriseSpec spec);

    /// <summary>With what it has at the moment.</summary>
    /// <exception cref="FaultException">enterprise-not-found.</exception>
    [Alias("Get")]
    Task<EnterpriseView> Get();

    /// <summary>Renames it, or gives it other quotas. Does nothing if nothing would change.</summary>
    /// <param name="ifVersion">The version that the change was made for, or null to change any.</param>
    /// <exception cref="FaultException">enterprise-not-found; enterprise-changed: its version has changed; name-invalid; quota-invalid.</exception>
    [Alias("Change")]
    Task<EnterpriseView> Change(EnterpriseSpec spec, long? ifVersion);

    /// <summary>Deletes an enterprise that has no appliances and no images.</summary>
    /// <exception cref="FaultException">enterprise-not-found; enterprise-default; enterprise-not-empty, naming what is left; enterprise-busy while something is being made in it.</exception>
    [Alias("Delete")]
    Task Delete();

    /// <summary>Takes room for what is about to be recorded as this enterprise's. Idempotent by claimant. Given back by <see cref="Admitted"/>, and by itself after a minute.</summary>
    /// <param name="claimant">The appliance or the image whose record will show it, and is not counted until then.</param>
    /// <param name="demand">All that its record will show.</param>
    /// <param name="held">What its record shows already, and is not asked for again; null if it has none.</param>
    /// <exception cref="FaultException">enterprise-not-found; quota-library-bytes; quota-virtual-bytes; quota-images; quota-uploads; quota-virtual-machines; quota-cpus; quota-memory-bytes.</exception>
    [Alias("Admit")]
    Task Admit(Guid claimant, EnterpriseUsage demand, EnterpriseUsage? held = null);

    /// <summary>The claimant has its record, which counts from here on, or it gave up. Idempotent.</summary>
    /// <returns>Whether it was held until now. If not, others may have been admitted in its place: the claimant asks <see cref="Admit"/> again, now that it has its record.</returns>
    [Alias("Admitted")]
    Task<bool> Admitted(Guid claimant);
}

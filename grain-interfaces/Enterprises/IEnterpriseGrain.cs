using Instances.Faults;

namespace Instances.Enterprises;

/// <summary>An enterprise in this datacenter: it owns appliances and images, and has quotas. The default one always exists.</summary>
/// <remarks>
/// <para>Each datacenter keeps its own record of an enterprise, with its own quotas, so that datacenters do not depend on each other. An enterprise of several datacenters has the
/// same id in each.</para>
/// <para>Usage is summed from the catalogue on request, so that a crash leaves nothing reserved. This grain keeps only claims: what was admitted and has no record yet. Claims are in
/// memory, for a minute at most. Calls run one after the other, so that concurrent requests do not exceed a quota together. A claim can be lost, for example with its silo:
/// <see cref="Admitted"/> returns false then.</para>
/// </remarks>
[Alias("instances.IEnterpriseGrain")]
public interface IEnterpriseGrain : IGrainWithGuidKey
{
    /// <summary>Idempotent for an equal specification.</summary>
    /// <exception cref="FaultException">name-invalid; quota-invalid; enterprise-exists if it has another specification.</exception>
    [Alias("Create")]
    Task<EnterpriseView> Create(EnterpriseSpec spec);

    /// <summary>With its current usage.</summary>
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

    /// <summary>Reserves quota for an appliance or an image whose record is about to be written. Idempotent by claimant. Released by <see cref="Admitted"/>, or automatically after a minute.</summary>
    /// <param name="claimant">The appliance or the image. Its record does not count while the claim is held.</param>
    /// <param name="demand">The total that its record will show.</param>
    /// <param name="held">The total that its record shows now; null if it has no record.</param>
    /// <exception cref="FaultException">enterprise-not-found; quota-library-bytes; quota-virtual-bytes; quota-images; quota-uploads; quota-virtual-machines; quota-cpus; quota-memory-bytes.</exception>
    [Alias("Admit")]
    Task Admit(Guid claimant, EnterpriseUsage demand, EnterpriseUsage? held = null);

    /// <summary>Releases a claim: the claimant has its record, which counts from now on, or it gave up. Idempotent.</summary>
    /// <returns>Whether the claim was held until now. If not, others may have been admitted instead: the claimant calls <see cref="Admit"/> again, now that it has its record.</returns>
    [Alias("Admitted")]
    Task<bool> Admitted(Guid claimant);
}

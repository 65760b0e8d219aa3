using System.Globalization;
using Instances.Faults;

namespace Instances.Enterprises;

/// <summary>Checks a demand against an enterprise's quotas. Pure.</summary>
internal static class QuotaRules
{
    private const string DeleteImages = "Delete images, which count until their grace period has passed, or have the quota raised.";
    private const string Undeploy = "Undeploy something, or have the quota raised.";

    /// <exception cref="FaultException">quota-invalid.</exception>
    public static EnterpriseQuotas Require(EnterpriseQuotas? quotas)
    {
        foreach (var (name, quota) in Bounds(quotas ?? EnterpriseQuotas.None))
        {
            if (quota < 0) throw FaultException.Invalid("quota-invalid", $"The quota {name} is {quota}: give it 0 or more, or leave it out for no bound.");
        }

        return quotas ?? EnterpriseQuotas.None;
    }

    /// <summary>Whether one of the quotas bounds the demand. Otherwise the usage need not be summed.</summary>
    public static bool Bound(EnterpriseQuotas quotas, EnterpriseUsage demand) => Checks(quotas, EnterpriseUsage.None, demand).Any(check => check.Quota is not null && check.Asked > 0);

    /// <returns>The refusal for the first quota that the demand exceeds, or null.</returns>
    public static Fault? FindExcess(string enterprise, EnterpriseQuotas quotas, EnterpriseUsage used, EnterpriseUsage demand)
    {
        foreach (var check in Checks(quotas, used, demand))
        {
            if (check.Asked == 0 || check.Quota is not { } quota || check.Asked <= quota - check.Used) continue;
            return new(FaultKind.Capacity, check.Code, $"The enterprise '{enterprise}' has {check.Show(check.Used)} of at most {check.Show(quota)} {check.Of}, and {check.Show(check.Asked)} more are requested. {check.Advice}");
        }

        return null;
    }

    /// <summary>Some sizes are known too late: the bytes of a capture or of an import without an announced length, and the disk of an import. Such an image needs at least one free byte,
    /// so that a full library admits none.</summary>
    private static IEnumerable<Check> Checks(EnterpriseQuotas quotas, EnterpriseUsage used, EnterpriseUsage demand) =>
    [
        new("quota-uploads", quotas.Uploads, used.Uploads, demand.Uploads, "imports under way", "Repeat it when one has ended, or cancel one."),
        new("quota-images", quotas.Images, used.Images, demand.Images, "images", DeleteImages),
        new("quota-library-bytes", quotas.LibraryBytes, used.LibraryBytes, demand.Images > 0 ? Math.Max(1, demand.LibraryBytes) : demand.LibraryBytes, "in the library", DeleteImages, IsBytes: true),
        new("quota-virtual-bytes", quotas.VirtualBytes, used.VirtualBytes, demand.Images > 0 ? Math.Max(1, demand.VirtualBytes) : demand.VirtualBytes, "of virtual size in its images", DeleteImages, IsBytes: true),
        new("quota-virtual-machines", quotas.VirtualMachines, used.VirtualMachines, demand.VirtualMachines, "deployed virtual machines", Undeploy),
        new("quota-cpus", quotas.Cpus, used.Cpus, demand.Cpus, "CPUs of deployed virtual machines", Undeploy),
        new("quota-memory-bytes", quotas.MemoryBytes, used.MemoryBytes, demand.MemoryBytes, "of memory of deployed virtual machines", Undeploy, IsBytes: true),
    ];

    private static IEnumerable<(string Name, long? Quota)> Bounds(EnterpriseQuotas quotas) =>
    [
        ("libraryBytes", quotas.LibraryBytes), ("images", quotas.Images), ("uploads", quotas.Uploads), ("virtualMachines", quotas.VirtualMachines), ("cpus", quotas.Cpus),
        ("memoryBytes", quotas.MemoryBytes), ("virtualBytes", quotas.VirtualBytes),
    ];

    private sealed record Check(string Code, long? Quota, long Used, long Asked, string Of, string Advice, bool IsBytes = false)
    {
        public string Show(long amount) => IsBytes ? amount.Bytes() : amount.ToString(CultureInfo.InvariantCulture);
    }
}

using CsCheck;
using Instances.Enterprises;
using Instances.Faults;
using Xunit;

namespace Instances.Grains.Tests.Enterprises;

public sealed class QuotaRulesTests
{
    private static readonly EnterpriseQuotas Ten = new(LibraryBytes: 10, Images: 10, Uploads: 10, VirtualMachines: 10, Cpus: 10, MemoryBytes: 10, VirtualBytes: 10);

    public static TheoryData<EnterpriseUsage, EnterpriseUsage, string?> Demands => new()
    {
        { new(Images: 9), new(Images: 1), null },
        { new(Images: 9), new(Images: 2), "quota-images" },
        { new(Images: 12), new(Images: 1), "quota-images" },
        { new(Images: 12), new(VirtualMachines: 1), null },
        { new(LibraryBytes: 9), new(LibraryBytes: 1), null },
        { new(LibraryBytes: 9), new(LibraryBytes: 2), "quota-library-bytes" },
        { new(LibraryBytes: 9), new(Images: 1), null },
        { new(LibraryBytes: 10), new(Images: 1), "quota-library-bytes" },
        { new(LibraryBytes: 10), new(LibraryBytes: long.MaxValue, Images: 1), "quota-library-bytes" },
        { new(LibraryBytes: 11), new(VirtualMachines: 1), null },
        { new(VirtualBytes: 9), new(VirtualBytes: 1), null },
        { new(VirtualBytes: 9), new(VirtualBytes: 2), "quota-virtual-bytes" },
        { new(VirtualBytes: 9), new(VirtualBytes: 2, Images: 1), "quota-virtual-bytes" },
        { new(VirtualBytes: 9), new(Images: 1), null },
        { new(VirtualBytes: 10), new(Images: 1), "quota-virtual-bytes" },
        { new(VirtualBytes: 10), new(LibraryBytes: 1), null },
        { new(VirtualBytes: 1), new(VirtualBytes: long.MaxValue), "quota-virtual-bytes" },
        { new(VirtualBytes: 11), new(VirtualMachines: 1), null },
        { new(Uploads: 10), new(Uploads: 1, Images: 1), "quota-uploads" },
        { new(VirtualMachines: 8), new(VirtualMachines: 2), null },
        { new(VirtualMachines: 8), new(VirtualMachines: 3), "quota-virtual-machines" },
        { new(Cpus: 8), new(VirtualMachines: 1, Cpus: 3), "quota-cpus" },
        { new(MemoryBytes: 8), new(VirtualMachines: 1, Cpus: 2, MemoryBytes: 3), "quota-memory-bytes" },
        { new(20, 20, 20, 20, 20, 20, 20), EnterpriseUsage.None, null },
    };

    [Theory, MemberData(nameof(Demands))]
    public void FindExcess_OfADemand_IsTheFirstQuotaThatIsNotEnough(EnterpriseUsage used, EnterpriseUsage demand, string? code)
    {
        var excess = QuotaRules.FindExcess("acme", Ten, used, demand);

        Assert.Equal(code, excess?.Code);
        if (excess is not null) Assert.Equal((FaultKind.Capacity, true), (excess.Kind, excess.Message.Contains(" of at most 10", StringComparison.Ordinal)));
    }

    [Fact]
    public void FindExcess_WithoutQuotas_IsNever() =>
        Gen.Long[0, 1L << 60].Array[7].Sample(n => QuotaRules.FindExcess("acme", EnterpriseQuotas.None, EnterpriseUsage.None, new(n[0], n[1], n[2], n[3], n[4], n[5], n[6])) is null);

    /// <summary>The sum of sequential admissions never exceeds the quota, whatever is requested.</summary>
    [Fact]
    public void FindExcess_OfManyDemands_AdmitsNoMoreThanTheQuota() => Gen.Select(Gen.Long[0, 50], Gen.Long[0, 20].Array[0, 20]).Sample((quota, demands) =>
    {
        var used = EnterpriseUsage.None;
        foreach (var demand in demands.Select(cpus => new EnterpriseUsage(VirtualMachines: 1, Cpus: cpus)))
        {
            if (QuotaRules.FindExcess("acme", new(Cpus: quota), used, demand) is null) used += demand;
        }

        return used.Cpus <= quota;
    });

    [Fact]
    public void FindExcess_SaysWhatThereIsAndWhatIsAskedFor()
    {
        var excess = QuotaRules.FindExcess("acme", new(LibraryBytes: 3L << 30), new(LibraryBytes: 2L << 30), new(LibraryBytes: 3L << 29, Images: 1))!;

        Assert.StartsWith("The enterprise 'acme' has 2 GiB of at most 3 GiB in the library, and 1.5 GiB more are requested. Delete images", excess.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bound_IsWhereAQuotaMatters()
    {
        Assert.False(QuotaRules.Bound(EnterpriseQuotas.None, new(1, 1, 1, 1, 1, 1, 1)));
        Assert.False(QuotaRules.Bound(new(Images: 5), new(VirtualMachines: 1)));
        Assert.False(QuotaRules.Bound(Ten, EnterpriseUsage.None));
        Assert.True(QuotaRules.Bound(new(LibraryBytes: 5), new(Images: 1)));
        Assert.True(QuotaRules.Bound(new(VirtualBytes: 5), new(Images: 1)));
    }

    [Fact]
    public void FindExcess_OfVirtualSize_NamesIt()
    {
        var excess = QuotaRules.FindExcess("acme", new(VirtualBytes: 100L << 30), new(VirtualBytes: 60L << 30), new(VirtualBytes: 50L << 30))!;

        Assert.StartsWith(
            "The enterprise 'acme' has 60 GiB of at most 100 GiB of virtual size in its images, and 50 GiB more are requested. Delete images", excess.Message, StringComparison.Ordinal);
    }

    /// <summary>The held part and the remaining demand together are at least the total.</summary>
    [Fact]
    public void Beyond_OfWhatIsHeld_IsWhatIsMissing() => Gen.Select(Gen.Long[0, 1L << 40].Array[7], Gen.Long[0, 1L << 40].Array[7]).Sample((all, held) =>
    {
        var rest = Usage(all).Beyond(Usage(held));
        return rest == Usage([.. all.Zip(held, (whole, part) => whole > part ? whole - part : 0)]);

        static EnterpriseUsage Usage(long[] n) => new(n[0], n[1], n[2], n[3], n[4], n[5], n[6]);
    });

    [Fact]
    public void Require_BelowZero_IsRefusedAndNamesIt()
    {
        Assert.Equal(Ten, QuotaRules.Require(Ten));
        Assert.Equal(EnterpriseQuotas.None, QuotaRules.Require(null));
        Assert.Equal(new(Images: 0), QuotaRules.Require(new(Images: 0)));
        var refused = Assert.Throws<FaultException>(() => QuotaRules.Require(new(MemoryBytes: -1)));
        Assert.Equal("quota-invalid", refused.Fault.Code);
        Assert.Contains("memoryBytes is -1", refused.Fault.Message, StringComparison.Ordinal);
        Assert.Contains("virtualBytes is -2", Assert.Throws<FaultException>(() => QuotaRules.Require(new(VirtualBytes: -2))).Fault.Message, StringComparison.Ordinal);
    }
}

using Instances.Catalogue;
using Instances.Faults;
using Instances.Storage;
using Orleans.Runtime;

namespace Instances.Enterprises;

internal sealed class EnterpriseGrain(
    [PersistentState("enterprise", StorageNames.Grains)] IPersistentState<EnterpriseState> stored, ICatalogue catalogue, TimeProvider time)
    : StoredGrain<EnterpriseState>(stored), IEnterpriseGrain
{
    private const string DefaultName = "default";

    /// <summary>How many appliances and images a refusal names.</summary>
    private const int NamedBelongings = 10;

    /// <summary>A claim that is older was lost: its claimant died with its silo.</summary>
    private static readonly TimeSpan ClaimBound = TimeSpan.FromMinutes(1);

    private readonly Dictionary<Guid, Claim> _claims = [];

    private EnterpriseId Id => new(this.GetPrimaryKey());

    private bool IsDefault => Id == EnterpriseId.Default;

    public async Task<EnterpriseView> Create(EnterpriseSpec spec)
    {
        var wanted = Require(spec);
        if (IsDefault) await RequireExists();
        if (!Exists) await SaveListed(new() { Name = wanted.Name, Quotas = wanted.Quotas!, CreatedAt = time.GetUtcNow() });
        else if (wanted != View().ToSpec()) throw FaultException.Conflict("enterprise-exists", "An enterprise with this id and another name or other quotas exists.");
        return View();
    }

    public async Task<EnterpriseView> Get()
    {
        await RequireExists();
        return View() with { Usage = await catalogue.LibraryUsageOf(Id, except: []) + await catalogue.MachineUsageOf(Id, except: []) };
    }

    public async Task<EnterpriseView> Change(EnterpriseSpec spec, long? ifVersion)
    {
        await RequireExists();
        var wanted = Require(spec);
        if (wanted == View().ToSpec()) return View();
        if (ifVersion is { } version && version != State.Version)
        {
            throw new FaultException(new(
                FaultKind.Changed, "enterprise-changed", $"The enterprise has been changed since: it has version {State.Version}, not {version}. Read it again, and decide again."));
        }

        await SaveListed(State with { Name = wanted.Name, Quotas = wanted.Quotas!, Version = State.Version + 1 });
        return View();
    }

    public async Task Delete()
    {
        await RequireExists();
        if (IsDefault) throw FaultException.Conflict("enterprise-default", "The default enterprise cannot be deleted: resources without an enterprise belong to it.");

        // A claim is held until the record is written: so one of the two is seen.
        DropLostClaims();
        if (_claims.Count > 0) throw FaultException.Conflict("enterprise-busy", $"Something is being created in the enterprise '{State.Name}' at the moment: try again.");
        var left = await catalogue.BelongingsOf(Id, NamedBelongings);
        if (left.Appliances.Count + left.Images.Count > 0)
            throw FaultException.Conflict("enterprise-not-empty", $"The enterprise '{State.Name}' has {Named(left)}: delete them first. Retired images are deleted when their grace period has passed.");
        await Forget();
        DeactivateOnIdle();
    }

    public async Task Admit(Guid claimant, EnterpriseUsage demand, EnterpriseUsage? held)
    {
        if (!IsDefault) await RequireExists();
        DropLostClaims();
        _claims.Remove(claimant);
        var asked = demand.Beyond(held ?? EnterpriseUsage.None);
        if (QuotaRules.Bound(State.Quotas, asked))
        {
            var claimed = _claims.Values.Aggregate(held ?? EnterpriseUsage.None, (sum, claim) => sum + claim.Demand);
            IReadOnlyCollection<Guid> except = [.. _claims.Keys, claimant];
            var used = demand.VirtualMachines > 0 ? await catalogue.MachineUsageOf(Id, except) : await catalogue.LibraryUsageOf(Id, except);
            if (QuotaRules.FindExcess(State.Name, State.Quotas, used + claimed, asked) is { } excess) throw new FaultException(excess);
        }

        _claims[claimant] = new(demand, time.GetTimestamp());
    }

    public Task<bool> Admitted(Guid claimant)
    {
        DropLostClaims();
        return Task.FromResult(_claims.Remove(claimant));
    }

    private void DropLostClaims()
    {
        foreach (var (lost, _) in _claims.Where(claim => time.GetElapsedTime(claim.Value.At) > ClaimBound).ToList()) _claims.Remove(lost);
    }

    private static EnterpriseSpec Require(EnterpriseSpec spec) => new(Names.Require(spec.Name, "an enterprise"), QuotaRules.Require(spec.Quotas));

    /// <summary>The record of the default enterprise is created at its first use.</summary>
    private async Task RequireExists()
    {
        if (Exists) return;
        if (!IsDefault) throw FaultException.NotFound("enterprise-not-found", "There is no such enterprise.");
        await SaveListed(new() { Name = DefaultName, CreatedAt = DateTimeOffset.UnixEpoch });
    }

    private static string Named(EnterpriseBelongings left)
    {
        var appliances = left.Appliances.Count > 0 ? $"the appliances {string.Join(", ", left.Appliances)}" : null;
        var images = left.Images.Count > 0 ? $"the images {string.Join(", ", left.Images)}" : null;
        return string.Join(" and ", ((string?[])[appliances, images]).OfType<string>());
    }

    private EnterpriseView View() => State.ToView(Id);

    private Task SaveListed(EnterpriseState next) => Save(next.WithCatalogue(Id));

    /// <param name="At">A timestamp.</param>
    private sealed record Claim(EnterpriseUsage Demand, long At);
}

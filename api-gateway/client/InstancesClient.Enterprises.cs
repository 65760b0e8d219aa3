using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Instances.Appliances;
using Instances.Enterprises;

namespace Instances.Client;

public sealed partial class InstancesClient
{
    /// <summary>The default enterprise first. Without usage.</summary>
    public Task<IReadOnlyList<EnterpriseView>> ListEnterprises(CancellationToken cancellationToken) => List<EnterpriseView>($"{Root}/enterprises?", cancellationToken);

    /// <param name="id">The one that it has in other datacenters; null for a new one.</param>
    public Task<EnterpriseView> CreateEnterprise(EnterpriseSpec spec, EnterpriseId? id, CancellationToken cancellationToken) =>
        Post<EnterpriseView>($"{Root}/enterprises", new { spec.Name, spec.Quotas, Id = id }, cancellationToken);

    /// <summary>With its quotas and its usage.</summary>
    public Task<EnterpriseView> GetEnterprise(EnterpriseId id, CancellationToken cancellationToken) => Get<EnterpriseView>($"{Root}/enterprises/{id}", cancellationToken);

    /// <summary>Applies a JSON merge patch of an <see cref="EnterpriseSpec"/>, such as <c>new { Quotas = new { Images = 10 } }</c>.</summary>
    /// <param name="ifVersion">Change it only if it has this version; null for any.</param>
    public Task<EnterpriseView> ChangeEnterprise(EnterpriseId id, object patch, long? ifVersion, CancellationToken cancellationToken) =>
        Patch<EnterpriseView>($"{Root}/enterprises/{id}", patch, ifVersion, cancellationToken);

    /// <summary>Deletes an enterprise that has no appliances and no images.</summary>
    public Task DeleteEnterprise(EnterpriseId id, CancellationToken cancellationToken) => Delete($"{Root}/enterprises/{id}", cancellationToken);

    public Task<IReadOnlyList<ApplianceView>> ListAppliances(EnterpriseId enterprise, CancellationToken cancellationToken) =>
        List<ApplianceView>($"{Root}/appliances?enterprise={enterprise}", cancellationToken);

    private async Task<T> Patch<T>(string path, object patch, long? ifVersion, CancellationToken cancellationToken)
    {
        using var response = await Send(Request, cancellationToken);
        return await Read<T>(response, cancellationToken);

        HttpRequestMessage Request()
        {
            var request = new HttpRequestMessage(HttpMethod.Patch, path) { Content = JsonContent.Create(patch, patch.GetType(), options: InstancesJson.Options) };
            if (ifVersion is { } version) request.Headers.IfMatch.Add(new EntityTagHeaderValue(string.Create(CultureInfo.InvariantCulture, $"\"{version}\"")));
            return request;
        }
    }
}

using System.Globalization;
using Instances.Catalogue;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Client;

public sealed partial class InstancesClient
{
    public Task<IReadOnlyList<ImageView>> ListImages(ImageFilter filter, CancellationToken cancellationToken)
    {
        (string Name, string? Value)[] parts =
        [
            ("kind", filter.Kind?.ToString()), ("status", filter.Status?.ToString()), ("master", filter.Master?.ToString()), ("name", filter.Name), ("search", filter.Search),
            ("parent", filter.Parent?.ToString()), ("virtualMachine", filter.VirtualMachine?.ToString()), ("createdAfter", Text(filter.CreatedAfter)),
            ("createdBefore", Text(filter.CreatedBefore)), ("includeRetired", filter.IncludeRetired ? "true" : null), ("sort", filter.Order.ToString()),
            ("descending", filter.Descending ? "true" : null), ("enterprise", filter.Enterprise?.ToString()), .. (filter.Labels ?? []).Select(label => ("label", (string?)label)),
        ];
        var query = string.Join('&', parts.Where(part => part.Value is not null).Select(part => $"{part.Name}={Uri.EscapeDataString(part.Value!)}"));
        return List<ImageView>($"{Root}/images?{query}", cancellationToken);

        static string? Text(DateTimeOffset? time) => time?.ToString("O", CultureInfo.InvariantCulture);
    }

    /// <summary>Applies a JSON merge patch of an <see cref="ImageSpec"/>, such as <c>new { Pinned = true }</c>.</summary>
    /// <param name="ifVersion">Change it only if it has this version; null for any.</param>
    public Task<ImageView> ChangeImage(ImageId id, object patch, long? ifVersion, CancellationToken cancellationToken) =>
        Patch<ImageView>($"{Root}/images/{id}", patch, ifVersion, cancellationToken);

    public Task DeleteImage(ImageId id, CancellationToken cancellationToken) => Delete($"{Root}/images/{id}", cancellationToken);

    /// <summary>Deletes a master with its slaves, all or none.</summary>
    /// <param name="dryRun">Only return what would be deleted.</param>
    public async Task<ImageDeletion> DeleteImageWithSlaves(ImageId id, bool dryRun, CancellationToken cancellationToken)
    {
        using var response = await Send(() => new(HttpMethod.Delete, $"{Root}/images/{id}?cascade=true&dryRun={(dryRun ? "true" : "false")}"), cancellationToken);
        return await Read<ImageDeletion>(response, cancellationToken);
    }

    /// <summary>Makes a Retired image Ready again.</summary>
    public Task<ImageView> RestoreImage(ImageId id, CancellationToken cancellationToken) => Post<ImageView>($"{Root}/images/{id}/restore", body: null, cancellationToken);

    /// <summary>Makes a master from a slave. The slave stays.</summary>
    /// <param name="name">Null for the slave's.</param>
    public Task<OperationView> PromoteImage(ImageId id, string? name, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/images/{id}/promote", new { name }, cancellationToken);

    /// <summary>Where an image comes from, and the first page of its descendants.</summary>
    public Task<ImageLineage> GetLineage(ImageId id, CancellationToken cancellationToken) => Get<ImageLineage>($"{Root}/images/{id}/lineage?limit={PageRequest.MaxLimit}", cancellationToken);

    /// <summary>The virtual machines that use an image.</summary>
    public Task<IReadOnlyList<VirtualMachineView>> ListUsers(ImageId id, CancellationToken cancellationToken) =>
        List<VirtualMachineView>($"{Root}/images/{id}/virtual-machines?", cancellationToken);
}

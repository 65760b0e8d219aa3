using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Client;

/// <summary>A typed client of the HTTP interface of one datacenter. Requests that fail because a part is unreachable are repeated, each POST with its own Idempotency-Key, so that
/// nothing is done twice.</summary>
/// <param name="http">With the server's address as its base address, and no timeout of its own: uploads and watches can take any time.</param>
/// <exception cref="ProblemException">From every method: the server refused.</exception>
/// <exception cref="TimeoutException">From every method: the server did not answer in time, in all attempts.</exception>
public sealed partial class InstancesClient(HttpClient http, string datacenter = "local")
{
    /// <summary>The most attempts of a request.</summary>
    public const int MaxAttempts = 8;

    private static readonly TimeSpan AttemptDelay = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait for the server's Retry-After.</summary>
    private static readonly TimeSpan MaxAttemptDelay = TimeSpan.FromSeconds(10);

    /// <summary>Longer than a gateway repeats a call before it gives up.</summary>
    private static readonly TimeSpan RequestBound = TimeSpan.FromSeconds(30);

    /// <summary>For the doctor, which reads everything up to four times.</summary>
    private static readonly TimeSpan ExaminationBound = TimeSpan.FromSeconds(150);

    private string Root => $"api/v1/datacenters/{Uri.EscapeDataString(datacenter)}";

    /// <summary>The image, or null if there is none.</summary>
    public async Task<ImageView?> FindImage(ImageId id, CancellationToken cancellationToken)
    {
        try
        {
            return await Get<ImageView>($"{Root}/images/{id}", cancellationToken);
        }
        catch (ProblemException problem) when (problem.Code == "image-not-found")
        {
            return null;
        }
    }

    public Task<IReadOnlyList<ApplianceView>> ListAppliances(CancellationToken cancellationToken) =>
        List<ApplianceView>($"{Root}/appliances?", cancellationToken);

    public Task<ApplianceView> CreateAppliance(ApplianceSpec spec, CancellationToken cancellationToken) =>
        Post<ApplianceView>($"{Root}/appliances", spec, cancellationToken);

    public Task<ApplianceView> GetAppliance(ApplianceId id, CancellationToken cancellationToken) =>
        Get<ApplianceView>($"{Root}/appliances/{id}", cancellationToken);

    public Task DeleteAppliance(ApplianceId id, CancellationToken cancellationToken) => Delete($"{Root}/appliances/{id}", cancellationToken);

    public Task<OperationView> Deploy(ApplianceId id, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/appliances/{id}/deploy", body: null, cancellationToken);

    public Task<OperationView> Undeploy(ApplianceId id, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/appliances/{id}/undeploy", body: null, cancellationToken);

    /// <summary>Undeploys without waiting for hosts that are unreachable.</summary>
    public Task<OperationView> ForceUndeploy(ApplianceId id, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/appliances/{id}/undeploy", new { Force = true }, cancellationToken);

    public Task<OperationView> CreateInstance(ApplianceId id, CreateInstanceCommand command, CancellationToken cancellationToken)
    {
        var body = new
        {
            VirtualMachines = (object?)command.VirtualMachines ?? "all",
            command.UpdateImages,
            command.Quiesce,
            command.Undeploy,
        };
        return Post<OperationView>($"{Root}/appliances/{id}/instances", body, cancellationToken);
    }

    public Task<VirtualMachineView> AddVirtualMachine(ApplianceId appliance, VirtualMachineSpec spec, CancellationToken cancellationToken) =>
        Post<VirtualMachineView>($"{Root}/appliances/{appliance}/virtual-machines", spec, cancellationToken);

    public Task<IReadOnlyList<VirtualMachineView>> ListVirtualMachines(ApplianceId appliance, CancellationToken cancellationToken) =>
        List<VirtualMachineView>($"{Root}/appliances/{appliance}/virtual-machines?", cancellationToken);

    public Task<VirtualMachineView> GetVirtualMachine(VirtualMachineId id, CancellationToken cancellationToken) =>
        Get<VirtualMachineView>($"{Root}/virtual-machines/{id}", cancellationToken);

    public Task<VirtualMachineView> Power(VirtualMachineId id, PowerAction action, CancellationToken cancellationToken) =>
        Post<VirtualMachineView>($"{Root}/virtual-machines/{id}/power", new { Action = action }, cancellationToken);

    /// <summary>The end of what the guest printed on its serial console since it was deployed.</summary>
    public async Task<string> ReadConsole(VirtualMachineId id, CancellationToken cancellationToken)
    {
        using var response = await Send(() => new(HttpMethod.Get, $"{Root}/virtual-machines/{id}/console-log"), cancellationToken);
        return await response.Content.ReadAsStringAsync(cancellationToken);
    }

    public Task<OperationView> GetOperation(OperationId id, CancellationToken cancellationToken) =>
        Get<OperationView>($"{Root}/operations/{id}", cancellationToken);

    /// <summary>Newest first.</summary>
    public Task<IReadOnlyList<OperationView>> ListOperations(ApplianceId appliance, CancellationToken cancellationToken) => ListOperations(new OperationFilter(appliance), cancellationToken);

    /// <summary>Newest first.</summary>
    /// <param name="filter">Null parts do not filter.</param>
    public Task<IReadOnlyList<OperationView>> ListOperations(OperationFilter filter, CancellationToken cancellationToken)
    {
        (string Name, string? Value)[] parts =
            [("appliance", filter.Appliance?.ToString()), ("image", filter.Image?.ToString()), ("kind", filter.Kind?.ToString()), ("status", filter.Status?.ToString())];
        return List<OperationView>($"{Root}/operations?{string.Join('&', parts.Where(part => part.Value is not null).Select(part => $"{part.Name}={part.Value}"))}", cancellationToken);
    }

    public Task<OperationView> Force(OperationId id, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/operations/{id}/force", body: null, cancellationToken);

    public Task<OperationView> Cancel(OperationId id, CancellationToken cancellationToken) =>
        Post<OperationView>($"{Root}/operations/{id}/cancel", body: null, cancellationToken);

    public async Task<IReadOnlyList<HostView>> ListHosts(CancellationToken cancellationToken) =>
        await Get<HostView[]>($"{Root}/hosts", cancellationToken);

    public Task<HostView> GetHost(HostId id, CancellationToken cancellationToken) => Get<HostView>($"{Root}/hosts/{id}", cancellationToken);

    /// <summary>In maintenance a host takes no new machines; its machines keep running.</summary>
    public async Task<HostView> SetMaintenance(HostId id, bool maintenance, CancellationToken cancellationToken)
    {
        using var response = await Send(
            () => new(HttpMethod.Patch, $"{Root}/hosts/{id}") { Content = JsonContent.Create(new { maintenance }, options: InstancesJson.Options) }, cancellationToken);
        return await Read<HostView>(response, cancellationToken);
    }

    /// <summary>Forgets a host that is unreachable and has no machines.</summary>
    public Task ForgetHost(HostId id, CancellationToken cancellationToken) => Delete($"{Root}/hosts/{id}", cancellationToken);

    /// <summary>Begins to create the missing records of a host's machines from its files.</summary>
    /// <param name="dryRun">Change nothing.</param>
    public Task<HostRecovery> AdoptHost(HostId id, bool dryRun, CancellationToken cancellationToken) => Post<HostRecovery>($"{Root}/hosts/{id}/adopt", new { dryRun }, cancellationToken);

    /// <summary>Begins to remove the machines of a host that have no record there.</summary>
    /// <param name="dryRun">Change nothing.</param>
    /// <param name="virtualMachines">The machines to give up.</param>
    public Task<HostRecovery> DiscardMachines(HostId id, bool dryRun, IReadOnlyList<VirtualMachineId> virtualMachines, CancellationToken cancellationToken) =>
        Post<HostRecovery>($"{Root}/hosts/{id}/discard", new { dryRun, virtualMachines }, cancellationToken);

    /// <summary>The running adoption or discarding of a host, or the last one.</summary>
    public Task<HostRecovery> GetHostRecovery(HostId id, CancellationToken cancellationToken) => Get<HostRecovery>($"{Root}/hosts/{id}/recovery", cancellationToken);

    /// <summary>Which layers of the library were read in this round, and which are corrupt.</summary>
    public Task<LibraryHealth> GetLibraryHealth(CancellationToken cancellationToken) => Get<LibraryHealth>($"{Root}/library/health", cancellationToken);

    /// <summary>Begins to read every layer of the library.</summary>
    public Task<LibraryHealth> VerifyLibrary(CancellationToken cancellationToken) => Post<LibraryHealth>($"{Root}/library/verify", body: null, cancellationToken);

    /// <summary>A sealed layer of an image.</summary>
    public Task<LayerView> GetLayer(LayerId layer, CancellationToken cancellationToken) => Get<LayerView>($"{Root}/library/layers/{layer}", cancellationToken);

    /// <summary>The current work and the results of compaction.</summary>
    public Task<LibraryCompaction> GetLibraryCompaction(CancellationToken cancellationToken) => Get<LibraryCompaction>($"{Root}/library/compaction", cancellationToken);

    /// <summary>Scans for long chains now.</summary>
    public Task<LibraryCompaction> CompactLibrary(CancellationToken cancellationToken) => Post<LibraryCompaction>($"{Root}/library/compaction", body: null, cancellationToken);

    /// <summary>Begins to create the missing records of images from the library's files.</summary>
    /// <param name="dryRun">Change nothing.</param>
    public Task<LibraryRebuild> RebuildLibrary(bool dryRun, CancellationToken cancellationToken) => Post<LibraryRebuild>($"{Root}/library/rebuild", new { dryRun }, cancellationToken);

    /// <summary>The running rebuild, or the last one.</summary>
    public Task<LibraryRebuild> GetLibraryRebuild(CancellationToken cancellationToken) => Get<LibraryRebuild>($"{Root}/library/rebuild", cancellationToken);

    /// <param name="limit">The number of images in the answer. Those that would free most come first.</param>
    public Task<LibraryUsage> GetLibraryUsage(int limit, CancellationToken cancellationToken) => Get<LibraryUsage>($"{Root}/library/usage?limit={limit}", cancellationToken);

    /// <summary>Checks that everything in the datacenter has an owner, and repairs what is safe to repair if requested.</summary>
    public async Task<DoctorReport> Examine(bool fix, CancellationToken cancellationToken)
    {
        using var response = await Send(Request, cancellationToken, ExaminationBound);
        return await Read<DoctorReport>(response, cancellationToken);

        HttpRequestMessage Request() => fix
            ? new(HttpMethod.Post, $"{Root}/doctor") { Content = JsonContent.Create(new { fix }, options: InstancesJson.Options) }
            : new(HttpMethod.Get, $"{Root}/doctor");
    }

    /// <summary>Uploads a disk image. It is sent once, because a stream cannot be sent again.</summary>
    /// <param name="format">The format, or null to detect it from the content, which is not possible for raw.</param>
    /// <param name="sha256">The SHA-256 of the bytes in hex, or null to skip the check.</param>
    public Task<OperationView> ImportImage(string name, ImageFormat? format, Stream bytes, string? sha256, CancellationToken cancellationToken) =>
        ImportImage(name, format, bytes, sha256, EnterpriseId.Default, cancellationToken);

    /// <inheritdoc cref="ImportImage(string, ImageFormat?, Stream, string?, CancellationToken)"/>
    /// <param name="enterprise">The enterprise that owns the image.</param>
    public Task<OperationView> ImportImage(string name, ImageFormat? format, Stream bytes, string? sha256, EnterpriseId enterprise, CancellationToken cancellationToken) =>
        ImportImage(name, format, bytes, sha256, enterprise, acceptSignature: false, cancellationToken);

    /// <inheritdoc cref="ImportImage(string, ImageFormat?, Stream, string?, EnterpriseId, CancellationToken)"/>
    /// <param name="acceptSignature">Accepts bytes that are declared as raw even if they look like another format or an archive.</param>
    public async Task<OperationView> ImportImage(
        string name, ImageFormat? format, Stream bytes, string? sha256, EnterpriseId enterprise, bool acceptSignature, CancellationToken cancellationToken)
    {
        var check = (format is null ? "" : $"&format={format}") + (sha256 is null ? "" : $"&sha256={sha256}") + (acceptSignature ? "&acceptSignature=true" : "");
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Root}/images?name={Uri.EscapeDataString(name)}&enterprise={enterprise}{check}")
        {
            Content = new StreamContent(bytes) { Headers = { ContentType = new("application/octet-stream") } },
        };
        request.Headers.ExpectContinue = true;
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        await Require(response, cancellationToken);
        return await Read<OperationView>(response, cancellationToken);
    }

    private async Task<T> Get<T>(string path, CancellationToken cancellationToken)
    {
        using var response = await Send(() => new(HttpMethod.Get, path), cancellationToken);
        return await Read<T>(response, cancellationToken);
    }

    private async Task<IReadOnlyList<T>> List<T>(string path, CancellationToken cancellationToken)
    {
        var items = new List<T>();
        for (string? cursor = ""; cursor is not null;)
        {
            var page = await Get<Page<T>>(cursor == "" ? path : $"{path}&cursor={Uri.EscapeDataString(cursor)}", cancellationToken);
            items.AddRange(page.Items);
            cursor = page.NextCursor;
        }

        return items;
    }

    private async Task<T> Post<T>(string path, object? body, CancellationToken cancellationToken)
    {
        var key = Guid.CreateVersion7().ToString();
        using var response = await Send(Request, cancellationToken);
        return await Read<T>(response, cancellationToken);

        HttpRequestMessage Request() => new(HttpMethod.Post, path)
        {
            Headers = { { "Idempotency-Key", key } },
            Content = body is null ? null : JsonContent.Create(body, body.GetType(), options: InstancesJson.Options),
        };
    }

    /// <summary>If a repeat answers 404, an earlier attempt has deleted the resource and its answer was lost.</summary>
    private async Task Delete(string path, CancellationToken cancellationToken)
    {
        var sent = 0;
        try
        {
            using var response = await Send(Request, cancellationToken);
        }
        catch (ProblemException problem) when (sent > 1 && problem is { Status: HttpStatusCode.NotFound, Code: not (null or "datacenter-not-found" or "path-not-found") })
        {
        }

        HttpRequestMessage Request()
        {
            sent++;
            return new(HttpMethod.Delete, path);
        }
    }

    private async Task<HttpResponseMessage> Send(Func<HttpRequestMessage> create, CancellationToken cancellationToken, TimeSpan? within = null)
    {
        for (var attempt = 1; ; attempt++)
        {
            using var bound = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            bound.CancelAfter(within ?? RequestBound);
            try
            {
                using var request = create();
                var response = await http.SendAsync(request, bound.Token);
                await Require(response, bound.Token);
                return response;
            }
            catch (Exception exception) when (attempt < MaxAttempts && !cancellationToken.IsCancellationRequested && MayRepeat(exception))
            {
                await Task.Delay(DelayAfter(exception), cancellationToken);
            }
            catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TimeoutException($"The server did not answer within {(within ?? RequestBound).TotalSeconds:0} s, {attempt} times in a row. Whether it has carried out the request is not known.", exception);
            }
        }
    }

    private static TimeSpan DelayAfter(Exception exception) =>
        exception is ProblemException { RetryAfter: { } wished } ? wished < AttemptDelay ? AttemptDelay : wished > MaxAttemptDelay ? MaxAttemptDelay : wished : AttemptDelay;

    private static bool MayRepeat(Exception exception) =>
        exception is HttpRequestException or IOException or TimeoutException or OperationCanceledException or ProblemException { Status: HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout };

    private static async Task Require(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response.IsSuccessStatusCode) return;
        using (response)
        {
            var text = await response.Content.ReadAsStringAsync(cancellationToken);
            var (code, detail) = Problem(text);
            throw new ProblemException(response.StatusCode, code, detail ?? $"The server answered {(int)response.StatusCode} {response.ReasonPhrase}.")
            {
                RetryAfter = response.Headers.RetryAfter?.Delta,
            };
        }
    }

    private static (string? Code, string? Detail) Problem(string text)
    {
        try
        {
            using var json = JsonDocument.Parse(text);
            return (json.RootElement.GetProperty("code").GetString(), json.RootElement.GetProperty("detail").GetString());
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return (null, null);
        }
    }

    private static async Task<T> Read<T>(HttpResponseMessage response, CancellationToken cancellationToken) =>
        await response.Content.ReadFromJsonAsync<T>(InstancesJson.Options, cancellationToken)
        ?? throw new ProblemException(response.StatusCode, code: null, "The server answered null.");
}

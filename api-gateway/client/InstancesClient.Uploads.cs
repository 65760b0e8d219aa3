using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text;
using Instances.Enterprises;
using Instances.Library;
using Instances.Operations;

namespace Instances.Client;

public sealed partial class InstancesClient
{
    /// <summary>The size of one part. If a part is interrupted, the received bytes are kept.</summary>
    private const long PartBytes = 64L << 20;

    private static readonly TimeSpan ResumeDelay = TimeSpan.FromSeconds(1);

    /// <summary>How long an upload is retried without progress.</summary>
    internal TimeSpan UploadPatience { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Uploads a disk image in parts. If a connection, a gateway or the library's server fails, the upload continues automatically over any gateway that answers.</summary>
    /// <param name="format">Null to detect it from the content, which is not possible for a raw disk.</param>
    /// <param name="bytes">Must be seekable, because lost bytes are sent again. The whole stream is sent.</param>
    /// <param name="sha256">The SHA-256 of the bytes in hex, or null to skip the check.</param>
    /// <returns>The import, which continues with checking and converting.</returns>
    public Task<OperationView> UploadImage(string name, ImageFormat? format, Stream bytes, string? sha256, CancellationToken cancellationToken) =>
        UploadImage(name, format, bytes, sha256, EnterpriseId.Default, cancellationToken);

    /// <inheritdoc cref="UploadImage(string, ImageFormat?, Stream, string?, CancellationToken)"/>
    /// <param name="enterprise">The enterprise that owns the image.</param>
    public Task<OperationView> UploadImage(string name, ImageFormat? format, Stream bytes, string? sha256, EnterpriseId enterprise, CancellationToken cancellationToken) =>
        UploadImage(name, format, bytes, sha256, enterprise, acceptSignature: false, cancellationToken);

    /// <inheritdoc cref="UploadImage(string, ImageFormat?, Stream, string?, EnterpriseId, CancellationToken)"/>
    /// <param name="acceptSignature">Accepts bytes that are declared as raw even if they look like another format or an archive.</param>
    public async Task<OperationView> UploadImage(
        string name, ImageFormat? format, Stream bytes, string? sha256, EnterpriseId enterprise, bool acceptSignature, CancellationToken cancellationToken)
    {
        var (url, operation) = await BeginUpload(name, format, bytes.Length, sha256, enterprise, acceptSignature, cancellationToken);
        var (offset, advanced) = (0L, Stopwatch.StartNew());
        while (offset < bytes.Length)
        {
            var reached = offset;
            try
            {
                reached = await SendPart(url, bytes, offset, cancellationToken);
            }
            catch (Exception exception) when (!cancellationToken.IsCancellationRequested && advanced.Elapsed < UploadPatience && MayResume(exception))
            {
                await Task.Delay(ResumeDelay, cancellationToken);
                reached = await FindOffset(url, offset, cancellationToken);
            }

            if (reached > offset) advanced.Restart();
            offset = reached;
        }

        return await GetOperation(operation.Id, cancellationToken);
    }

    private async Task<(string Url, OperationView Operation)> BeginUpload(string name, ImageFormat? format, long length, string? sha256, EnterpriseId enterprise, bool acceptSignature, CancellationToken cancellationToken)
    {
        (string Key, string? Value)[] values =
            [("name", name), ("format", format?.ToString()), ("sha256", sha256), ("enterprise", enterprise.ToString()), ("acceptSignature", acceptSignature ? "true" : null)];
        var metadata = string.Join(',', values.Where(pair => pair.Value is not null).Select(pair => $"{pair.Key} {Convert.ToBase64String(Encoding.UTF8.GetBytes(pair.Value!))}"));
        var key = Guid.CreateVersion7().ToString();
        using var response = await Send(
            () => Tus(HttpMethod.Post, $"{Root}/images/uploads", ("Upload-Length", length.ToString(CultureInfo.InvariantCulture)), ("Upload-Metadata", metadata), ("Idempotency-Key", key)),
            cancellationToken);
        return (response.Headers.Location!.OriginalString, await Read<OperationView>(response, cancellationToken));
    }

    /// <returns>The offset that was reached.</returns>
    private async Task<long> SendPart(string url, Stream bytes, long offset, CancellationToken cancellationToken)
    {
        // A frozen gateway keeps its connections open: only its silence shows it.
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        silence.CancelAfter(SilenceBound);
        bytes.Position = offset;
        using var request = Tus(HttpMethod.Patch, url, ("Upload-Offset", offset.ToString(CultureInfo.InvariantCulture)));
        request.Content = new PartContent(bytes, Math.Min(PartBytes, bytes.Length - offset), () => silence.CancelAfter(SilenceBound));
        request.Headers.ExpectContinue = true;
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, silence.Token);
        await Require(response, silence.Token);
        return OffsetOf(response);
    }

    private async Task<long> FindOffset(string url, long known, CancellationToken cancellationToken)
    {
        try
        {
            using var response = await Send(() => Tus(HttpMethod.Head, url), cancellationToken);
            return OffsetOf(response);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && MayRepeat(exception))
        {
            return known; // The offset is not known at the moment. The next part is refused if it does not fit.
        }
    }

    private static long OffsetOf(HttpResponseMessage response) => long.Parse(response.Headers.GetValues("Upload-Offset").Single(), CultureInfo.InvariantCulture);

    private static HttpRequestMessage Tus(HttpMethod method, string url, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, url) { Headers = { { "Tus-Resumable", "1.0.0" } } };
        foreach (var (name, value) in headers) request.Headers.Add(name, value);
        return request;
    }

    /// <summary>If a part does not fit, or another request is still sending, the client asks for the offset. The other request is this client's own earlier one.</summary>
    private static bool MayResume(Exception exception) =>
        MayRepeat(exception) || exception is ProblemException { Status: HttpStatusCode.RequestTimeout } or ProblemException { Status: HttpStatusCode.Conflict, Code: "upload-mismatch" or "upload-busy" };
}

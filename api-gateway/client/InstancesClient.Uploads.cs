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
    /// <summary>What is sent with one request. What has come of one that breaks off counts all the same.</summary>
    private const long PartBytes = 64L << 20;

    private static readonly TimeSpan ResumeDelay = TimeSpan.FromSeconds(1);

    /// <summary>How long an upload is tried to be taken up again while not one more byte gets through.</summary>
    internal TimeSpan UploadPatience { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Uploads a disk image in parts. Continues by itself, over whichever gateway answers, where a connection, a gateway or the library's server breaks.</summary>
    /// <param name="format">Null if the content is to tell: never for a raw disk.</param>
    /// <param name="bytes">One that can seek: what got lost on the way is sent again. Sent from its beginning to its end.</param>
    /// <param name="sha256">What the bytes hash to, in hex, or null not to have them checked.</param>
    /// <returns>The import, which continues with checking and converting.</returns>
    public Task<OperationView> UploadImage(string name, ImageFormat? format, Stream bytes, string? sha256, CancellationToken cancellationToken) =>
        UploadImage(name, format, bytes, sha256, EnterpriseId.Default, cancellationToken);

    /// <inheritdoc cref="UploadImage(string, ImageFormat?, Stream, string?, CancellationToken)"/>
    /// <param name="enterprise">Whose the image is.</param>
    public Task<OperationView> UploadImage(string name, ImageFormat? format, Stream bytes, string? sha256, EnterpriseId enterprise, CancellationToken cancellationToken) =>
        UploadImage(name, format, bytes, sha256, enterprise, acceptSignature: false, cancellationToken);

    /// <inheritdoc cref="UploadImage(string, ImageFormat?, Stream, string?, EnterpriseId, CancellationToken)"/>
    /// <param name="acceptSignature">Takes what is declared as raw even if it looks like another format or an archive.</param>
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
        // A gateway that stands still keeps its connections open: only the silence tells.
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
            return known; // Nobody tells at the moment. The next part is refused where it does not fit.
        }
    }

    private static long OffsetOf(HttpResponseMessage response) => long.Parse(response.Headers.GetValues("Upload-Offset").Single(), CultureInfo.InvariantCulture);

    private static HttpRequestMessage Tus(HttpMethod method, string url, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, url) { Headers = { { "Tus-Resumable", "1.0.0" } } };
        foreach (var (name, value) in headers) request.Headers.Add(name, value);
        return request;
    }

    /// <summary>A part that does not fit, or meets another sender, is mended by asking how far the upload is: the other sender is our own request before.</summary>
    private static bool MayResume(Exception exception) =>
        MayRepeat(exception) || exception is ProblemException { Status: HttpStatusCode.RequestTimeout } or ProblemException { Status: HttpStatusCode.Conflict, Code: "upload-mismatch" or "upload-busy" };
}

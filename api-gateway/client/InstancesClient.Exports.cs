using System.Globalization;
using System.Security.Cryptography;
using Instances.Library;

namespace Instances.Client;

public sealed partial class InstancesClient
{
    private const int ExportBufferBytes = 256 << 10;

    /// <summary>Longer than a gateway waits for the library.</summary>
    private static readonly TimeSpan ExportSilenceBound = TimeSpan.FromSeconds(75);

    /// <summary>Downloads an image as one file, and checks it. If the export is refused temporarily, it is repeated. If it breaks off, it is not, because its bytes were already written.</summary>
    /// <param name="compression">Null for none.</param>
    /// <param name="target">The file is written to it. Its content is useless if this throws.</param>
    /// <exception cref="HttpIOException">The export broke off.</exception>
    /// <exception cref="InvalidDataException">The received bytes are not those that were sent.</exception>
    /// <exception cref="TimeoutException">The export did not begin, or no byte arrived for more than a minute.</exception>
    public async Task<ExportedFile> ExportImage(ImageId id, ExportFormat format, ExportCompression? compression, Stream target, CancellationToken cancellationToken)
    {
        using var response = await BeginExport(id, format, compression, cancellationToken);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var body = new SilenceBoundStream(await response.Content.ReadAsStreamAsync(cancellationToken), ExportSilenceBound);
        var (buffer, bytes) = (new byte[ExportBufferBytes], 0L);
        for (int read; (read = await body.ReadAsync(buffer, cancellationToken)) > 0; bytes += read)
        {
            hash.AppendData(buffer, 0, read);
            await target.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
        }

        var digest = hash.GetHashAndReset();
        var isSame = response.TrailingHeaders.TryGetValues("Repr-Digest", out var values) && values.Contains($"sha-256=:{Convert.ToBase64String(digest)}:", StringComparer.Ordinal);
        if (!isSame || (LengthOf(response) is { } length && length != bytes)) throw new InvalidDataException("The received export is damaged: export the image again.");
        return new(FileNameOf(response), bytes, Convert.ToHexStringLower(digest));
    }

    /// <summary>The properties of an export, without its bytes.</summary>
    /// <returns>Bytes is null if the length is known only at the end.</returns>
    public async Task<(string FileName, long? Bytes)> DescribeExport(ImageId id, ExportFormat format, ExportCompression? compression, CancellationToken cancellationToken)
    {
        using var response = await Send(() => new(HttpMethod.Head, ExportPath(id, format, compression)), cancellationToken);
        return (FileNameOf(response), LengthOf(response));
    }

    private async Task<HttpResponseMessage> BeginExport(ImageId id, ExportFormat format, ExportCompression? compression, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            using var bound = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            bound.CancelAfter(ExportSilenceBound);
            try
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, ExportPath(id, format, compression));
                var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, bound.Token);
                await Require(response, bound.Token);
                return response;
            }
            catch (Exception exception) when (attempt < MaxAttempts && !cancellationToken.IsCancellationRequested && MayRepeat(exception))
            {
                await Task.Delay(AttemptDelay, cancellationToken);
            }
            catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TimeoutException($"The export did not begin: it was requested {MaxAttempts} times without an answer in time.", exception);
            }
        }
    }

    private string ExportPath(ImageId id, ExportFormat format, ExportCompression? compression) =>
        $"{Root}/images/{id}/export?format={format}{(compression is null ? "" : $"&compression={compression}")}";

    private static string FileNameOf(HttpResponseMessage response) =>
        response.Content.Headers.ContentDisposition is { } disposition ? disposition.FileNameStar ?? disposition.FileName?.Trim('"') ?? "" : "";

    private static long? LengthOf(HttpResponseMessage response) =>
        response.Headers.TryGetValues("Export-Length", out var values) ? long.Parse(values.Single(), CultureInfo.InvariantCulture) : null;
}

/// <param name="FileName">As the server proposes it: no path.</param>
/// <param name="Sha256">Of the file, in lower case hex.</param>
public sealed record ExportedFile(string FileName, long Bytes, string Sha256);

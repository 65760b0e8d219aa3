using System.Security.Cryptography;
using System.Text;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Library;
using Instances.Problems;

namespace Instances.Requests;

/// <summary>Gives every repeat of a POST with an Idempotency-Key the first answer, refusals included.</summary>
/// <remarks>Not recorded: answers that tell the client to try again (408, 429, 5xx except 507), and refusals of malformed requests (400, 415).</remarks>
internal static class Idempotency
{
    /// <summary>How often a repeat checks whether the attempt before it has ended.</summary>
    private static readonly TimeSpan WaitPeriod = TimeSpan.FromMilliseconds(250);

    /// <summary>How long a repeated upload waits for the attempt before it. While the body of an upload waits unread, the server cannot see that its client has disconnected.</summary>
    private static readonly TimeSpan WaitBound = TimeSpan.FromMinutes(2);

    /// <summary>How long the client of a repeated upload may be silent while its bytes are compared.</summary>
    private static readonly TimeSpan IdleBound = TimeSpan.FromMinutes(1);

    private const int CompareBytes = 64 << 10;

    private static readonly string[] NotReplayed = ["Content-Length", "Transfer-Encoding", "Date", "Server"];

    /// <summary>Marks a POST that is idempotent without a record: none is kept.</summary>
    public static TBuilder WithoutRecord<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new NoRecord());

    public static void UseIdempotency(this IApplicationBuilder app) => app.Use(async (context, next) =>
    {
        var key = HttpMethods.IsPost(context.Request.Method) && context.Request.RouteValues.ContainsKey("datacenter") && context.GetEndpoint()?.Metadata.GetMetadata<NoRecord>() is null
            ? RequestKey.Of(context)
            : RequestKey.None;
        if (key.IsGiven) await Answer(context, key, next);
        else await next(context);
    });

    private static async Task Answer(HttpContext context, RequestKey key, RequestDelegate next)
    {
        var clock = context.RequestServices.GetRequiredService<TimeProvider>();
        var stopping = context.RequestServices.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        var waitingSince = clock.GetTimestamp();
        var record = (await Datacenter.BindAsync(context)).Request(key.NewId<RequestId>());
        using var upload = context.GetEndpoint()?.Metadata.GetMetadata<UploadRequest>() is null ? null : new UploadBody(context.Request.Body);
        var fingerprint = upload is null ? Fingerprint(context.Request, await KeepBody(context)) : Fingerprint(context.Request, Encoding.ASCII.GetBytes($"{context.Request.ContentLength}"));
        var id = Guid.CreateVersion7();
        var isSpent = false;
        while (true)
        {
            var turn = await record.Begin(fingerprint, id, upload is not null);
            if (turn.Kind is RequestTurnKind.Reused) throw RequestKey.Reused();
            if (turn.Kind is RequestTurnKind.Answered)
            {
                await RequireSameBytes(turn.Answer!, context, upload, isSpent, clock);
                await Replay(turn.Answer!, context);
                return;
            }

            if (turn.Kind is RequestTurnKind.Run)
            {
                if (isSpent)
                {
                    await record.Release(id);
                    throw FaultException.Unavailable("upload-overtaken", "Another request with the same key took over this upload and did not finish it. Send it again.");
                }

                await using var attempt = new RequestAttempt(record, id, turn.Number, upload, clock);
                if (await TryAnswer(context, record, id, fingerprint, attempt, upload, next)) return;
                (isSpent, waitingSince) = (true, clock.GetTimestamp());
            }

            if ((upload is not null && clock.GetElapsedTime(waitingSince) > WaitBound) || stopping.IsCancellationRequested)
                throw FaultException.Unavailable("request-running", $"Another request with the same {RequestKey.Header} is still running. Repeat this one later.");
            await Task.Delay(WaitPeriod, clock, context.RequestAborted);
        }
    }

    /// <returns>False if another attempt has taken over, and will have the answer.</returns>
    private static async Task<bool> TryAnswer(
        HttpContext context, IRequestGrain record, Guid id, string fingerprint, RequestAttempt attempt, UploadBody? upload, RequestDelegate next)
    {
        var (response, aborted) = (context.Response, context.RequestAborted);
        var (body, request) = (response.Body, context.Request.Body);
        using var captured = new MemoryStream();
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(aborted, attempt.Overtaken);
        response.Body = captured;
        if (upload is not null) (context.Request.Body, context.RequestAborted) = (upload, ending.Token);
        context.Features.Set(attempt);
        try
        {
            try
            {
                await next(context);
            }
            catch (FaultException exception) when (exception.Fault.Kind is not (FaultKind.Unavailable or FaultKind.Internal))
            {
                response.Headers.Remove("ETag");
                await Problem.For(context, exception.Fault).Write(context);
            }

            (response.Body, context.RequestAborted) = (body, aborted);
            if (attempt.Overtaken.IsCancellationRequested) return Reset(response);
            if (!IsRecorded(response.StatusCode))
            {
                await record.Release(id);
                await body.WriteAsync(captured.ToArray(), aborted);
                return true;
            }

            var answer = new RequestAnswer(
                response.StatusCode,
                response.Headers.Where(header => !NotReplayed.Contains(header.Key, StringComparer.OrdinalIgnoreCase)).ToDictionary(header => header.Key, header => header.Value.ToString()),
                Encoding.UTF8.GetString(captured.ToArray()),
                upload?.Sha256,
                upload is { Sha256: not null } ? upload.Count : null);
            if (await record.Answer(id, fingerprint, answer) is not { } first) return Reset(response);
            await Replay(first, context);
            return true;
        }
        catch (Exception exception)
        {
            (response.Body, context.RequestAborted) = (body, aborted);
            if (attempt.Overtaken.IsCancellationRequested && !aborted.IsCancellationRequested && exception is OperationCanceledException or FaultException) return Reset(response);
            await TryRelease(record, id);
            throw;
        }
        finally
        {
            context.Request.Body = request;
            context.Features.Set<RequestAttempt>(null);
        }
    }

    private static bool Reset(HttpResponse response)
    {
        response.StatusCode = StatusCodes.Status200OK;
        response.Headers.Clear();
        return false;
    }

    private static bool IsRecorded(int status) => status is >= 200 and < 300 or 403 or 404 or 409 or 412 or 413 or 422 or 507;

    private static async Task TryRelease(IRequestGrain record, Guid id)
    {
        try
        {
            await record.Release(id);
        }
        catch (Exception exception) when (Interruptions.IsInterruption(exception))
        {
            // The lease expires.
        }
    }

    /// <summary>For an upload that was answered before: unless the query has the digest of the bytes, they are read and compared.</summary>
    private static async Task RequireSameBytes(RequestAnswer answer, HttpContext context, UploadBody? upload, bool isSpent, TimeProvider clock)
    {
        if (upload is null || isSpent || answer.RequestSha256 is not { } sha256 || context.Request.Query.ContainsKey("sha256")) return;
        using var silence = new CancellationTokenSource(IdleBound, clock);
        var buffer = new byte[CompareBytes];
        try
        {
            while (await upload.ReadAsync(buffer, silence.Token) > 0)
            {
                if (upload.Count > answer.RequestBytes) throw RequestKey.Reused();
                silence.CancelAfter(IdleBound);
            }
        }
        catch (OperationCanceledException exception) when (silence.IsCancellationRequested)
        {
            throw new BadHttpRequestException("The body stopped.", StatusCodes.Status408RequestTimeout, exception);
        }

        if (upload.Sha256 != sha256) throw RequestKey.Reused();
    }

    private static async Task Replay(RequestAnswer answer, HttpContext context)
    {
        Reset(context.Response);
        context.Response.StatusCode = answer.Status;
        foreach (var (name, value) in answer.Headers) context.Response.Headers[name] = value;
        if (answer.Body.Length > 0) await context.Response.WriteAsync(answer.Body, context.RequestAborted);
    }

    /// <summary>Reads the whole body into memory. The server bounds the bodies of these requests.</summary>
    private static async Task<byte[]> KeepBody(HttpContext context)
    {
        var whole = new MemoryStream();
        await context.Request.Body.CopyToAsync(whole, context.RequestAborted);
        whole.Position = 0;
        context.Request.Body = whole;
        return whole.ToArray();
    }

    /// <summary>Equal for equal requests of one path and key.</summary>
    private static string Fingerprint(HttpRequest request, byte[] body)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{request.QueryString}\n{request.Headers[Tus.Length]}\n{request.Headers[Tus.Metadata]}\n"));
        hash.AppendData(body);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private sealed class NoRecord;
}

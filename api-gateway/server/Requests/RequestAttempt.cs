using Instances.Problems;

namespace Instances.Requests;

/// <summary>An attempt to answer a request with an Idempotency-Key. Sends its record signs of life until it is disposed.</summary>
internal sealed class RequestAttempt : IAsyncDisposable
{
    private static readonly TimeSpan TouchPeriod = IRequestGrain.Lease / 5;

    private readonly IRequestGrain _record;
    private readonly Guid _id;
    private readonly UploadBody? _upload;
    private readonly CancellationTokenSource _overtaken = new();
    private readonly CancellationTokenSource _ended = new();
    private readonly Task _touching;

    /// <param name="number">From 1 on.</param>
    /// <param name="upload">The body, if it is not kept: the attempt is alive while bytes move.</param>
    public RequestAttempt(IRequestGrain record, Guid id, int number, UploadBody? upload, TimeProvider clock)
    {
        (_record, _id, Number, _upload) = (record, id, number, upload);
        _touching = KeepTouching(clock);
    }

    public int Number { get; }

    /// <summary>Cancelled when another attempt has taken over.</summary>
    public CancellationToken Overtaken => _overtaken.Token;

    /// <summary>Must be called between the begin of an import and its first byte.</summary>
    /// <exception cref="OperationCanceledException">Another attempt has taken over.</exception>
    public async Task RequireTurn()
    {
        if (await _record.Touch(_id)) return;
        await _overtaken.CancelAsync();
        _overtaken.Token.ThrowIfCancellationRequested();
    }

    public async ValueTask DisposeAsync()
    {
        await _ended.CancelAsync();
        await _touching;
        _overtaken.Dispose();
        _ended.Dispose();
    }

    private async Task KeepTouching(TimeProvider clock)
    {
        long moved = 0;
        while (true)
        {
            try
            {
                await Task.Delay(TouchPeriod, clock, _ended.Token);
                if (_upload is { Sha256: null } && _upload.Count == moved) continue;
                moved = _upload?.Count ?? 0;
                if (await _record.Touch(_id)) continue;
                await _overtaken.CancelAsync();
                return;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception exception) when (Interruptions.IsInterruption(exception))
            {
                // The record is unreachable at the moment. The next sign of life may come through.
            }
        }
    }
}

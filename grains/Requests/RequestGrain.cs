using Instances.Storage;
using Orleans.Runtime;

namespace Instances.Requests;

/// <remarks>
/// What happens if something dies:
/// <list type="number">
/// <item>The gateway, during the work: the lease ends, and a repeat runs. The ids are derived from the key, so that the repeat finds what the first attempt created.</item>
/// <item>This grain's silo: the lease is lost with it, and a repeat runs beside the first attempt, with the same ids. The first recorded answer stands.</item>
/// <item>Either, during an upload: the number of attempts is durable. The repeat ends the import of every earlier attempt, or takes it over if all its bytes have arrived.
/// An earlier attempt that continues is told to stop by <see cref="Touch"/>, which it calls between the begin of its import and its first byte.</item>
/// </list>
/// </remarks>
internal sealed class RequestGrain([PersistentState("request", StorageNames.Grains)] IPersistentState<RequestState> stored, TimeProvider time)
    : StoredGrain<RequestState>(stored), IRequestGrain
{
    private Running? _running;

    private RequestId Id => new(this.GetPrimaryKey());

    public async Task<RequestTurn> Begin(string fingerprint, Guid attempt, bool isUpload)
    {
        if (Exists && State.Fingerprint != fingerprint) return new(RequestTurnKind.Reused);
        if (State.Answer is { } answer) return new(RequestTurnKind.Answered, Answer: answer);
        if (_running is { } running && time.GetElapsedTime(running.TouchedAt) < IRequestGrain.Lease)
        {
            if (running.Attempt == attempt) return new(RequestTurnKind.Run, running.Number);
            return new(running.Fingerprint == fingerprint ? RequestTurnKind.Wait : RequestTurnKind.Reused);
        }

        if (isUpload)
        {
            var createdAt = Exists ? State.CreatedAt : time.GetUtcNow();
            await SaveListed(State with { Fingerprint = fingerprint, CreatedAt = createdAt, Attempts = State.Attempts + 1, Attempt = attempt });
        }

        _running = new(attempt, fingerprint, isUpload ? State.Attempts : 1, time.GetTimestamp());
        return new(RequestTurnKind.Run, _running.Number);
    }

    public Task<bool> Touch(Guid attempt)
    {
        if (State.Answer is not null || IsOvertaken(attempt)) return Task.FromResult(false);
        if (_running?.Attempt == attempt) _running = _running with { TouchedAt = time.GetTimestamp() };

        // The activation that knew the attempt is gone. Only uploads are recorded durably.
        else if (State.Attempt == attempt) _running = new(attempt, State.Fingerprint, State.Attempts, time.GetTimestamp());
        return Task.FromResult(true);
    }

    public async Task<RequestAnswer?> Answer(Guid attempt, string fingerprint, RequestAnswer answer)
    {
        if (State.Answer is { } first) return first;
        if (IsOvertaken(attempt)) return null;
        await SaveListed(State with { Fingerprint = fingerprint, CreatedAt = Exists ? State.CreatedAt : time.GetUtcNow(), Answer = answer });
        _running = null;
        return answer;
    }

    public Task Release(Guid attempt)
    {
        if (_running?.Attempt == attempt) _running = null;
        return Task.CompletedTask;
    }

    public async Task Expire(DateTimeOffset before)
    {
        if (!Exists || State.CreatedAt >= before || _running is not null) return;
        await Forget();
        DeactivateOnIdle();
    }

    private bool IsOvertaken(Guid attempt) => State.Attempt is { } newest && newest != attempt;

    private Task SaveListed(RequestState next) => Save(next.WithCatalogue(Id));

    private sealed record Running(Guid Attempt, string Fingerprint, int Number, long TouchedAt);
}

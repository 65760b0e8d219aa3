using Instances.Faults;
using Instances.Operations;

namespace Instances.Library;

/// <summary>Uploads in parts, and imports of files on the library's machine.</summary>
internal sealed partial class ImageGrain
{
    /// <summary>How exactly the time of the last bytes is stored. Writing it for each part would be one write for each byte of a client that sends single bytes.</summary>
    internal static readonly TimeSpan SignPeriod = TimeSpan.FromMinutes(1);

    /// <summary>The most issued and unused tickets. Older ones, such as those of a gateway that died, are dropped.</summary>
    private const int MaxTickets = 16;

    /// <summary>In memory only: if the silo dies, the client asks for another ticket.</summary>
    private readonly List<string> _tickets = [];

    public async Task BeginUpload(OperationId operation, ImportCommand command)
    {
        command = Trimmed(command);
        if (command.Bytes is null) throw FaultException.Invalid("upload-length-missing", "An upload in parts must announce its number of bytes.");
        if (await HasEnded(operation, ended => ended.Command == command && ended.Way is ImportWay.Parts)) return;
        Decide(ImageCommand.BeginImport);
        if (State.Import is not { } running)
            await Begin(new(operation, LayerId.New(), command, SecretHash: "", time.GetUtcNow(), ImportWay.Parts));
        else if (running.Operation != operation || running.Command != command || running.Way is not ImportWay.Parts) throw AlreadyBegun(running);
        else await BeginRecord();
    }

    public async Task BeginImportFromPath(OperationId operation, ImportCommand command, string path)
    {
        if (path.Any(char.IsControl)) throw new FaultException(new(FaultKind.Forbidden, "path-not-allowed", "The path contains a control character: give the absolute path of a file."));
        command = Trimmed(command);
        if (await HasEnded(operation, ended => ended.Path == path && ended.Command with { Bytes = null } == command)) return;
        Decide(ImageCommand.BeginImport);
        if (State.Import is { } running)
        {
            if (running.Operation != operation || running.Path != path || running.Command with { Bytes = null } != command) throw AlreadyBegun(running);
        }
        else
        {
            var file = await GrainFactory.Library().MeasureFile(path);
            await Begin(
                new(operation, LayerId.New(), command with { Bytes = file.Bytes }, SecretHash: "", time.GetUtcNow(), ImportWay.Path, Path: path), spaceBytes: file.SpaceBytes);
        }

        await BeginRecord();
        await TakeFile(State.Import!);
    }

    public async Task<UploadView> GetUpload()
    {
        var import = RequireUpload();
        var length = import.Command.Bytes!.Value;
        if (import.IsWhole)
        {
            // After the death of a silo, it may not be in progress any more.
            if (State.Status is ImageStatus.Importing) await EndIdle(import);
            RequireUpload();
            return View(length);
        }

        var received = Math.Min(await GrainFactory.Library().ReceivedBytes(import.Layer), length);
        // The last byte has arrived, but the report was lost with a silo.
        if (received == length) await TakeUp();
        return View(received);
    }

    public async Task<UploadTicket> ContinueUpload()
    {
        if (RequireUpload().IsWhole) throw FaultException.Conflict("upload-mismatch", "All bytes of the upload have arrived: no more are accepted. Its operation shows the progress.");
        var secret = NewSecret();
        if (_tickets.Count == MaxTickets) _tickets.RemoveAt(0);
        _tickets.Add(Hash(secret));
        return new(await GrainFactory.Library().UploadAddress(Id), secret);
    }

    public async Task<UploadPlan> AcceptPart(string ticket)
    {
        var index = _tickets.FindIndex(hash => IsSecretOf(hash, ticket));
        if (index < 0 || _cancelled || State is not { Status: ImageStatus.Importing, Import: { Way: ImportWay.Parts, IsWhole: false } import }) throw InvalidTicket();
        _tickets.RemoveAt(index);
        _lastSign = time.GetUtcNow();
        if (_lastSign - (import.LastPartAt ?? import.StartedAt) >= SignPeriod) await SaveListed(State with { Import = import with { LastPartAt = _lastSign } });
        return import.ToPlan();
    }

    public async Task CompleteUpload(OperationId operation)
    {
        if (State.Import is not { Way: ImportWay.Parts or ImportWay.OneRequest } import || import.Operation != operation || State.Status is not (ImageStatus.Importing or ImageStatus.Ready) || _cancelled)
            throw FaultException.Conflict("operation-cancelled", "The import has ended: nothing of the upload is kept.");
        if (import.IsWhole) return;
        _tickets.Clear();
        _lastSign = time.GetUtcNow();
        await SaveListed(State with { Import = import with { IsWhole = true } });
        KillPoints.Reach("import.whole");
    }

    public Task CancelUpload() =>
        State is { Import: { Way: ImportWay.Parts } import, Status: ImageStatus.Failed, Ended.Status: OperationStatus.Cancelled } ? Task.CompletedTask : CancelImport(RequireUpload().Operation);

    /// <exception cref="FaultException">upload-not-found.</exception>
    private RunningImport RequireUpload() => Exists && !_cancelled && State is { Import: { Way: ImportWay.Parts } import, Status: ImageStatus.Importing or ImageStatus.Ready }
        ? import
        : throw FaultException.NotFound("upload-not-found", "There is no such upload, or it has ended and nothing of it is kept. Its operation shows why; begin another upload.");

    private UploadView View(long received)
    {
        var import = State.Import!;
        var isWaiting = State.Status is ImageStatus.Importing && received < import.Command.Bytes;
        return new(Id, import.Operation, received, import.Command.Bytes!.Value, isWaiting ? _lastSign + options.Value.UploadResumeBound : null);
    }

    /// <summary>The client has disconnected, or its bytes are not being processed.</summary>
    private async Task EndIdleUpload(RunningImport import)
    {
        if (import.IsWhole || await GrainFactory.Library().ReceivedBytes(import.Layer) >= import.Command.Bytes)
        {
            if (!await TakeUp()) await EndImport(import.Operation, OperationStatus.Failed, Interrupted());
            return;
        }

        if (time.GetUtcNow() - _lastSign < options.Value.UploadResumeBound) return;
        await EndImport(import.Operation, OperationStatus.Failed, new(
            FaultKind.Unavailable, "upload-timed-out", $"No more bytes of the upload arrived for {options.Value.UploadResumeBound}, and nothing of it was kept: begin another upload."));
    }

    /// <returns>False if the bytes do not exist any more.</returns>
    private async Task<bool> TakeUp()
    {
        await CompleteUpload(State.Import!.Operation);
        try
        {
            return await GrainFactory.Library().TakeUpUpload(Id, State.Import!.ToPlan());
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Unavailable)
        {
            return true; // The library is unreachable, or has no place at the moment: a later reminder resumes the import.
        }
    }

    /// <summary>Copies the file again from its beginning.</summary>
    private async Task ResumeFile(RunningImport import)
    {
        try
        {
            await GrainFactory.Library().TakeFile(Id, import.ToPlan(), import.Path!);
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Unavailable)
        {
            // The library is unreachable or has no free place. A later reminder tries again.
        }
        catch (FaultException exception)
        {
            await EndImport(import.Operation, OperationStatus.Failed, exception.Fault);
        }
    }

    /// <summary>An immediate refusal is also returned to the caller, and leaves no waiting image.</summary>
    private async Task TakeFile(RunningImport import)
    {
        try
        {
            await GrainFactory.Library().TakeFile(Id, import.ToPlan(), import.Path!);
        }
        catch (FaultException exception)
        {
            await EndImport(import.Operation, OperationStatus.Failed, exception.Fault);
            throw;
        }
    }
}

using System.Security.Cryptography;
using System.Text;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>How an image is imported: this grain issues a ticket and keeps the record. The data plane receives and converts the bytes.</summary>
internal sealed partial class ImageGrain
{
    private const string ImportReminder = "import";

    private static readonly TimeSpan ReminderPeriod = TimeSpan.FromSeconds(30);

    private static readonly string[] ImportSteps = ["receive", "check", "convert", "publish"];

    private OperationReporter? _reporter;
    private DateTimeOffset _lastSign;
    private bool _cancelled;

    /// <summary>The stage of the import that was reported last to this activation.</summary>
    private ImportStage? _stage;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // The wait for the next part is bounded by a day in all, also over restarts of silos.
        _lastSign = State.Import is { Way: ImportWay.Parts, IsWhole: false } import ? import.LastPartAt ?? import.StartedAt : time.GetUtcNow();
        return Task.CompletedTask;
    }

    public async Task<UploadTicket> BeginImport(OperationId operation, ImportCommand command)
    {
        command = Trimmed(command);
        await HasEnded(operation, ended => ended.Command == command);
        Decide(ImageCommand.BeginImport);
        if (State.Import is { } running && (running.Operation != operation || running.Command != command || running.SecretHash.Length == 0)) throw AlreadyBegun(running);
        var secret = NewSecret();
        await Begin(new(operation, State.Import?.Layer ?? LayerId.New(), command, Hash(secret), time.GetUtcNow()));
        return new(await GrainFactory.Library().UploadAddress(Id), secret);
    }

    public async Task<bool> Supersede(OperationId operation)
    {
        // The record outlives the image.
        if (State.Import?.Operation != operation) return await GrainFactory.Operation(operation).Find() is { Status: OperationStatus.Succeeded };
        if (State.Ended is { Status: OperationStatus.Succeeded } || (State.Ended is null && (State.Import.IsWhole || _stage > ImportStage.Receiving))) return true;

        // If all bytes have arrived and this was not reported yet, only work is lost: the next attempt sends them again.
        if (State.Ended is null) await CancelImport(operation);

        // Only its operation is left.
        await Delete();
        return false;
    }

    public async Task<UploadPlan> AcceptUpload(string ticket)
    {
        if (State.Import is not { SecretHash.Length: > 0 } import || State.Status is not ImageStatus.Importing || _cancelled || !IsSecretOf(import.SecretHash, ticket))
            throw InvalidTicket();

        await SaveListed(State with { Import = import with { SecretHash = "" } });
        await GrainFactory.Library().Admitted(Id);
        _lastSign = time.GetUtcNow();
        return import.ToPlan();
    }

    public Task<bool> ReportImport(OperationId operation, ImportStage stage, long bytes)
    {
        if (State.Import?.Operation != operation || State.Status is not ImageStatus.Importing || _cancelled) return Task.FromResult(false);
        (_lastSign, _stage) = (time.GetUtcNow(), stage);
        var (reporter, step) = (_reporter ??= new(Record, Steps, [], time, logger), ImportSteps[(int)stage]);

        // A promotion receives no bytes. It is waiting for its turn.
        if (!Steps.Contains(step)) return Task.FromResult(true);
        foreach (var done in Steps.TakeWhile(done => done != step)) reporter.Step(done, StepStatus.Done);
        reporter.Step(step, StepStatus.Running);
        if (stage is ImportStage.Receiving) reporter.Bytes(step, bytes, State.Import.Command.Bytes);
        else if (stage is ImportStage.Converting) reporter.Bytes(step, bytes, total: null);
        return Task.FromResult(true);
    }

    public async Task<ImageView> CompleteImport(OperationId operation, ImageManifest manifest)
    {
        if (State.Import?.Operation != operation || Decide(ImageCommand.CompleteImport) is not { } next) return State.ToView(Id);
        try
        {
            // A compressed upload, or one without a length, may be larger than was admitted and than its record counts until it is Ready.
            await ClaimMore(UsageOf(manifest), () => MakeReady(manifest, next));
            await CloseReady();
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Capacity)
        {
            // Do this first: it fails if the database is from a backup and does not know the library. Then the image may have been Ready, and waits for the rebuild.
            await GrainFactory.Library().Unpublish([Id]);
            await EndImport(operation, OperationStatus.Failed, exception.Fault);
        }

        return State.ToView(Id);
    }

    /// <summary>For a rebuild: the image was Ready in the lost part of the database, so it is kept regardless of quotas.</summary>
    private async Task CompleteLost(ImageManifest manifest)
    {
        if (Decide(ImageCommand.CompleteImport) is not { } next) return;
        await MakeReady(manifest, next);
        await CloseReady();
    }

    private Task MakeReady(ImageManifest manifest, ImageStatus next)
    {
        foreach (var step in Steps) _reporter?.Step(step, StepStatus.Done);
        return SaveListed(State with { Status = next, Manifest = manifest, Ended = Outcome(OperationStatus.Succeeded, fault: null) });
    }

    private Task CloseReady()
    {
        KillPoints.Reach("import.recorded");
        return CloseImport();
    }

    public Task FailImport(OperationId operation, Fault fault) => EndImport(operation, OperationStatus.Failed, fault);

    public async Task CancelImport(OperationId operation)
    {
        if (State.Status is ImageStatus.Ready)
            throw FaultException.Conflict("operation-finished", "The import has finished: delete the image instead.");
        _cancelled = true;
        await EndImport(operation, OperationStatus.Cancelled, new(FaultKind.Conflict, "operation-cancelled", "The import was cancelled."));
    }

    public async Task Nudge(OperationId operation)
    {
        if (State.Import?.Operation == operation && State.Ended is not null) await CloseImport();
    }

    public async Task ReceiveReminder(string reminderName, TickStatus status)
    {
        if (!Exists || State.Status is not ImageStatus.Importing) await CloseImport();
        else if (time.GetUtcNow() - _lastSign >= options.Value.UploadIdleBound) await EndIdle(State.Import!);
    }

    public async Task ResumeImport()
    {
        // A sender that has not used its ticket yet can still come.
        if (State is not { Status: ImageStatus.Importing, Import: { SecretHash.Length: 0 } import }) return;
        if (!await GrainFactory.Library().IsImporting(Id)) await EndIdle(import);
    }

    private async Task EndIdle(RunningImport import)
    {
        // Its layers and its manifest were durable before a crash, or before the database was restored from a backup.
        if (await GrainFactory.Library().FindManifest(Id) is { } made && made.GetOperation() == import.Operation) await CompleteImport(import.Operation, made);
        else await (import.Way switch
        {
            ImportWay.Parts => EndIdleUpload(import),
            ImportWay.Promotion => TakePromotion(import),
            ImportWay.Path => ResumeFile(import),
            ImportWay.OneRequest when import.IsWhole => EndIdleUpload(import),
            ImportWay.OneRequest => EndImport(import.Operation, OperationStatus.Failed, Interrupted()),
        });
    }

    private static Fault Interrupted() => new(
        FaultKind.Unavailable, "import-interrupted", "The upload stopped, or the server was restarted while it ran: import the image again.");

    private bool IsPromotion => State.Import?.Way is ImportWay.Promotion;

    private IReadOnlyList<string> Steps => IsPromotion ? ImportSteps[1..] : ImportSteps;

    private IOperationGrain Record => GrainFactory.Operation(State.Import!.Operation);

    /// <summary>Writes the intent. The reminder that ends it is registered before, and the operation's record is created after.</summary>
    /// <param name="look">Checks again after the record was written. If it throws, nothing has begun.</param>
    /// <param name="spaceBytes">The space of its bytes if they are known to have holes; null for all bytes.</param>
    private async Task Begin(RunningImport import, Func<Task>? look = null, long? spaceBytes = null)
    {
        var command = import.Command;
        await RequireImportable(command, spaceBytes);
        await GrainFactory.Claim(command.Enterprise, Id.Value, import.ToUsage(), async () =>
        {
            var library = GrainFactory.Library();
            await library.Admit(Id);
            var isOnItsWay = false;
            try
            {
                await this.RegisterOrUpdateReminder(ImportReminder, ReminderPeriod, ReminderPeriod);
                await SaveListed(new() { Name = command.Name, Status = ImageStatus.Importing, CreatedAt = import.StartedAt, Import = import });
                KillPoints.Reach("import.begun");
                if (look is not null) await look();

                // Other imports reach the library's silo at once, and count until then.
                isOnItsWay = import.Way is not ImportWay.Parts;
            }
            catch when (look is not null)
            {
                // If the outcome of the write is unknown, the reminder stays. It fails the import if nothing resumes it.
                await TakeBack();
                throw;
            }
            finally
            {
                if (!isOnItsWay) await library.Admitted(Id);
            }
        }, takeBack: async _ =>
        {
            await TakeBack();
            return true;
        });
        await BeginRecord();

        async Task TakeBack()
        {
            if (!Exists) return;
            await Forget();
            await CloseReminder();
        }
    }

    /// <summary>Whether the request is a repeat and its import has ended. Its record may be missing because of a crash.</summary>
    private async Task<bool> HasEnded(OperationId operation, Func<RunningImport, bool> isSame)
    {
        if (State is not { Import: { } import, Ended: not null } || import.Operation != operation || !isSame(import)) return false;
        await BeginRecord();
        await CloseImport();
        return true;
    }

    private async Task BeginRecord()
    {
        await Record.Begin(new(IsPromotion ? OperationKind.Promote : OperationKind.Import, Appliance: null, Id, Steps, VirtualMachines: [], State.Import!.StartedAt));
        _reporter ??= new(Record, Steps, [], time, logger);
    }

    private static FaultException AlreadyBegun(RunningImport running) => FaultException.Conflict(
        "image-exists", running.Way is ImportWay.OneRequest ? "The image is Importing: its bytes are already being sent." : "The image is Importing already, by another request.");

    /// <summary>The form for the record and the manifest.</summary>
    private static ImportCommand Trimmed(ImportCommand command) => command with { Name = Names.Require(command.Name, "an image") };

    private async Task RequireImportable(ImportCommand command, long? spaceBytes)
    {
        ImageRules.Require(command.Details);
        if (command.Bytes is { } bytes)
        {
            if (bytes < 1) throw FaultException.Invalid("image-empty", "The upload has no bytes.");
            if (bytes > options.Value.MaxUploadBytes)
                throw FaultException.Invalid("image-too-large", $"The upload has {bytes.Bytes()}: {options.Value.MaxUploadBytes.Bytes()} are allowed.");
            var freeBytes = (await GrainFactory.Library().Get()).FreeBytes;
            if ((spaceBytes ?? bytes) is var needed && needed > freeBytes)
                throw FaultException.Capacity("no-space", $"The upload has {needed.Bytes()} and the library has {freeBytes.Bytes()} left: free some space first.");
        }

        if (command.Sha256 is { } sha256 && (sha256.Length != 64 || !sha256.All(char.IsAsciiHexDigit)))
            throw FaultException.Invalid("digest-invalid", "sha256 is not a SHA-256 in hex: 64 digits.");
    }

    private async Task EndImport(OperationId operation, OperationStatus status, Fault fault)
    {
        if (State.Import?.Operation != operation || Decide(ImageCommand.FailImport) is not { } next || next == State.Status) return;
        await SaveListed(State with { Status = next, Failure = fault, Ended = Outcome(status, fault) });
        KillPoints.Reach("import.failed");
        await GrainFactory.Library().Unpublish([Id]);
        KillPoints.Reach("import.unpublished");
        LogImportEnded(Id.Value, fault.Code);
        await CloseImport();
        await GrainFactory.Library().SweepSoon();
    }

    private OperationOutcome Outcome(OperationStatus status, Fault? fault)
    {
        var progress = (_reporter ?? new(Record, Steps, [], time, logger)).Progress;
        return new(status, progress, time.GetUtcNow(), fault, status is OperationStatus.Succeeded ? new() : null);
    }

    private async Task CloseImport()
    {
        if (_reporter is { } reporter) await reporter.Drain();
        if (State.Ended is { } ended) await Record.Finish(ended);
        await CloseReminder();
    }

    private async Task CloseReminder()
    {
        if (await this.GetReminder(ImportReminder) is { } reminder) await this.UnregisterReminder(reminder);
    }

    private static string NewSecret() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    private static bool IsSecretOf(string hash, string secret) => CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(hash), Encoding.ASCII.GetBytes(Hash(secret)));

    private static FaultException InvalidTicket() =>
        new(new(FaultKind.Forbidden, "ticket-invalid", "The upload ticket is not valid: begin the import again."));

    private static string Hash(string secret) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(secret)));

    [LoggerMessage(Level = LogLevel.Information, Message = "The import of image {Image} ended with {Code}.")]
    private partial void LogImportEnded(Guid image, string code);
}

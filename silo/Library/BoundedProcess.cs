using System.Collections.Concurrent;
using System.Text;
using CliWrap;
using CliWrap.Exceptions;
using Instances.Faults;

namespace Instances.Library;

/// <summary>Runs a program to its end, or ends it if it takes too long or prints too much. It dies with this process, even if this process is killed.</summary>
/// <remarks>The kernel ends a child when the <i>thread</i> that started it ends (<c>PR_SET_PDEATHSIG</c>). Threads of the pool come and go, so one thread, which lives as long as the process,
/// starts all children.</remarks>
internal static class BoundedProcess
{
    /// <summary>Must be the last prefix before the program: a change of the user would clear the setting.</summary>
    public static IReadOnlyList<string> DieWithParent { get; } = ["setpriv", "--pdeathsig", "KILL"];

    private static readonly BlockingCollection<Action> s_starts = [];

    static BoundedProcess() => new Thread(() =>
    {
        foreach (var start in s_starts.GetConsumingEnumerable()) start();
    })
    {
        IsBackground = true,
        Name = "starts processes",
    }.Start();

    /// <exception cref="FaultException">qemu-img-failed.</exception>
    public static Task<ProcessOutcome> Run(IReadOnlyList<string> command, ProcessBounds bounds, CancellationToken cancellationToken) =>
        Run(command, bounds, standardInput: null, standardOutput: null, cancellationToken);

    /// <param name="standardInput">Its input; null for none.</param>
    /// <param name="standardOutput">Receives its output without a bound; null to put a bounded output in the outcome.</param>
    /// <exception cref="FaultException">qemu-img-failed.</exception>
    public static async Task<ProcessOutcome> Run(
        IReadOnlyList<string> command, ProcessBounds bounds, PipeSource? standardInput, PipeTarget? standardOutput, CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        end.CancelAfter(bounds.Time);
        var output = new CappedOutput(end);
        var errors = new CappedOutput(end);
        try
        {
            // This ends its whole tree of processes.
            var program = Cli.Wrap(command[0])
                .WithArguments(command.Skip(1), escape: true)
                .WithValidation(CommandResultValidation.None)
                .WithStandardInputPipe(standardInput ?? PipeSource.Null)
                .WithStandardOutputPipe(standardOutput ?? output.Target)
                .WithStandardErrorPipe(errors.Target);
            var result = await Start(() => program.ExecuteAsync(end.Token));
            return new(result.ExitCode, output.Text, errors.Text);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new(ProcessOutcome.OutOfBounds, output.Text, errors.Text);
        }
        catch (CliWrapException exception)
        {
            throw FaultException.Unavailable("qemu-img-failed", $"{command[0]} could not be started. Install qemu-utils and util-linux.", exception);
        }
    }

    private static async Task<T> Start<T>(Func<CommandTask<T>> start)
    {
        var started = new TaskCompletionSource<CommandTask<T>>(TaskCreationOptions.RunContinuationsAsynchronously);
        s_starts.Add(() =>
        {
            try
            {
                started.SetResult(start());
            }
            catch (Exception exception)
            {
                started.SetException(exception);
            }
        });
        return await await started.Task;
    }

    /// <summary>Keeps the output up to the bound, and ends the process if there is more.</summary>
    private sealed class CappedOutput(CancellationTokenSource end)
    {
        private readonly MemoryStream _kept = new();

        public PipeTarget Target => PipeTarget.Create(async (stream, cancellationToken) =>
        {
            var buffer = new byte[4096];
            for (int read; (read = await stream.ReadAsync(buffer, cancellationToken)) > 0;)
            {
                if (_kept.Length + read > ProcessBounds.OutputBytes)
                {
                    await end.CancelAsync();
                    return;
                }

                _kept.Write(buffer, 0, read);
            }
        });

        public string Text => Encoding.UTF8.GetString(_kept.GetBuffer(), 0, (int)_kept.Length);
    }
}

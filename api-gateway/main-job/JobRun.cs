using System.Diagnostics;
using Instances.Client;

namespace Instances.MainJob;

/// <summary>One run of the job: its report, whatever happens, and no machine left running.</summary>
internal sealed class JobRun(Narrator narrator, double? readySeconds)
{
    private static readonly TimeSpan CleanupBound = TimeSpan.FromSeconds(90);

    private readonly Report _report = new();

    public async Task<Report> Run(IReadOnlyList<Uri> gateways, string datacenter, FileInfo image, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        using var http = GatewayPool.CreateClient(gateways);
        var client = new InstancesClient(http, datacenter);
        var job = new Job(client, narrator, _report);
        try
        {
            await job.Run(image, cancellationToken);
            _report.Ok = true;
            narrator.Succeeded("Everything was as expected.");
        }
        catch (Exception exception) when (exception is ExpectationException or ProblemException or HttpRequestException or IOException or OperationCanceledException)
        {
            _report.Error = cancellationToken.IsCancellationRequested ? "The job was interrupted." : exception.Message;
            narrator.Failed(_report.Error);
            await CleanUp(job);
        }

        _report.Seconds.Ready = readySeconds;
        _report.Seconds.Job = Math.Round(Stopwatch.GetElapsedTime(started).TotalSeconds, 3);
        return _report;
    }

    private async Task CleanUp(Job job)
    {
        using var bound = new CancellationTokenSource(CleanupBound);
        try
        {
            await job.Abandon(bound.Token);
            _report.Slaves.Clear();
            _report.Slaves.AddRange(await job.Slaves(bound.Token));
        }
        catch (Exception exception) when (exception is ProblemException or HttpRequestException or IOException or OperationCanceledException)
        {
            narrator.Failed($"The appliance could not be undeployed: {exception.Message}");
        }
    }
}

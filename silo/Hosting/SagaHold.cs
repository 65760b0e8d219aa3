using Instances.Sagas;

namespace Instances.Hosting;

/// <summary>Stops a saga permanently at a named point, for tests that kill this process there. Registered only if the configuration names a point.</summary>
/// <remarks>
/// <c>Testing:HoldSagaAt</c> is <c>saga/step</c>, <c>saga/step/machine</c> or either with <c>:after</c>; <c>undo</c> before the saga's name means the undo.
/// The file <c>Testing:HoldMarker</c> is created when the point is reached.
/// </remarks>
internal sealed class SagaHold(string at, string marker) : ISagaProbe
{
    public async Task Around(SagaPoint point, Func<Task> action)
    {
        var name = $"{(point.IsUndo ? "undo " : "")}{point.Saga}/{point.Step}{(point.Item.Length > 0 ? $"/{point.Item}" : "")}";
        if (name == at) await Hold();
        await action();
        if ($"{name}:after" == at) await Hold();
    }

    private async Task Hold()
    {
        await File.WriteAllTextAsync(marker, at);
        await Task.Delay(Timeout.InfiniteTimeSpan);
    }
}

internal static class SagaHoldServices
{
    public static void AddSagaHold(this IServiceCollection services, IConfiguration configuration)
    {
        if (configuration["Testing:HoldSagaAt"] is { } at)
            services.AddSingleton<ISagaProbe>(new SagaHold(at, configuration["Testing:HoldMarker"] ?? throw new InvalidOperationException("Testing:HoldMarker names no file.")));
    }
}

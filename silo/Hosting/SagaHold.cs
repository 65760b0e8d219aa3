using Instances.Sagas;

namespace Instances.Hosting;

/// <summary>Stops a saga for ever at the point that a test writes into a file, so that the test can kill this process there. Registered only if the configuration names the file.</summary>
/// <remarks>
/// The point is <c>saga/step</c>, <c>saga/step/machine</c> or either with <c>:after</c>; <c>undo</c> before the saga's name means the undo.
/// The file <c>Testing:HoldFile</c> is deleted when the saga stops: the next process does not stop there.
/// </remarks>
internal sealed class SagaHold(string file) : ISagaProbe
{
    public async Task Around(SagaPoint point, Func<Task> action)
    {
        var name = $"{(point.IsUndo ? "undo " : "")}{point.Saga}/{point.Step}{(point.Item.Length > 0 ? $"/{point.Item}" : "")}";
        await HoldAt(name);
        await action();
        await HoldAt($"{name}:after");
    }

    private async Task HoldAt(string name)
    {
        if (!File.Exists(file) || (await File.ReadAllTextAsync(file)).Trim() != name) return;
        File.Delete(file);
        await Task.Delay(Timeout.InfiniteTimeSpan);
    }
}

internal static class SagaHoldServices
{
    public static void AddSagaHold(this IServiceCollection services, IConfiguration configuration)
    {
        if (configuration["Testing:HoldFile"] is { } file) services.AddSingleton<ISagaProbe>(new SagaHold(file));
    }
}

namespace Instances.Sagas;

/// <summary>Stands around every step and every undo. The product's own lets them run; tests repeat, fail or hold them.</summary>
internal interface ISagaProbe
{
    Task Around(SagaPoint point, Func<Task> action);
}

/// <param name="Owner">The key of the appliance or image that runs the saga.</param>
/// <param name="Item">Empty for the step as a whole; the name of one machine where a step goes over machines.</param>
internal sealed record SagaPoint(string Saga, string Step, bool IsUndo, Guid Owner, string Item = "");

internal sealed class NoProbe : ISagaProbe
{
    public Task Around(SagaPoint point, Func<Task> action) => action();
}

namespace Instances.Sagas;

/// <summary>Wraps every step and every undo. The product's probe just runs them; tests repeat, fail or hold them.</summary>
internal interface ISagaProbe
{
    Task Around(SagaPoint point, Func<Task> action);
}

/// <param name="Owner">The key of the appliance or image that runs the saga.</param>
/// <param name="Item">Empty for the step as a whole; the name of one machine if the step works on each machine.</param>
internal sealed record SagaPoint(string Saga, string Step, bool IsUndo, Guid Owner, string Item = "");

internal sealed class NoProbe : ISagaProbe
{
    public Task Around(SagaPoint point, Func<Task> action) => action();
}

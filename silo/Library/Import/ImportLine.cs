using Instances.Enterprises;

namespace Instances.Library.Import;

/// <summary>The queue for converters. Enterprises take turns, so that one with many imports does not delay others. Within an enterprise it is first in, first out.</summary>
internal sealed class ImportLine<T>
    where T : class
{
    private readonly Lock _lock = new();

    /// <summary>The enterprises, in the order of their turns.</summary>
    private readonly LinkedList<(EnterpriseId Owner, LinkedList<(T Item, bool IsSmall)> Items)> _owners = [];
    private TaskCompletionSource _added = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Add(EnterpriseId owner, bool isSmall, T item)
    {
        TaskCompletionSource added;
        lock (_lock)
        {
            var items = _owners.FirstOrDefault(other => other.Owner == owner).Items;
            if (items is null) _owners.AddLast((owner, items = []));
            items.AddLast((item, isSmall));
            (added, _added) = (_added, new(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        added.SetResult();
    }

    /// <summary>Waits for the next job.</summary>
    /// <param name="onlySmall">Takes only small jobs.</param>
    public async Task<T> Take(bool onlySmall, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task added;
            lock (_lock)
            {
                if (TryTake(onlySmall) is { } next) return next;
                added = _added.Task;
            }

            await added.WaitAsync(cancellationToken);
        }
    }

    private T? TryTake(bool onlySmall)
    {
        for (var owner = _owners.First; owner is not null; owner = owner.Next)
        {
            for (var item = owner.Value.Items.First; item is not null; item = item.Next)
            {
                if (onlySmall && !item.Value.IsSmall) continue;
                owner.Value.Items.Remove(item);
                _owners.Remove(owner);
                if (owner.Value.Items.Count > 0) _owners.AddLast(owner);
                return item.Value.Item;
            }
        }

        return null;
    }
}

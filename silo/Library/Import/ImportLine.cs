using Instances.Enterprises;

namespace Instances.Library.Import;

/// <summary>The queue for converters. Enterprises take turns, so that one with many imports does not delay others. Within an enterprise it is first in, first out.</summary>
/// <remarks>The converter for small imports has turns of its own. With common turns, the large import of an enterprise would wait as long as it sends small ones.</remarks>
internal sealed class ImportLine<T>
    where T : class
{
    private readonly Lock _lock = new();

    /// <summary>The enterprises with waiting imports.</summary>
    private readonly List<Line> _lines = [];
    private long _turns;
    private TaskCompletionSource _added = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Add(EnterpriseId owner, bool isSmall, T item)
    {
        TaskCompletionSource added;
        lock (_lock)
        {
            var line = _lines.Find(other => other.Owner == owner);
            if (line is null) _lines.Add(line = new(owner, ++_turns));
            line.Items.AddLast((item, isSmall));
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
        foreach (var line in _lines.OrderBy(line => line.Turn(onlySmall)))
        {
            if (line.TryTake(onlySmall) is not { } item) continue;
            line.Turn(onlySmall) = ++_turns;
            if (line.Items.Count == 0) _lines.Remove(line);
            return item;
        }

        return null;
    }

    /// <summary>The waiting imports of an enterprise.</summary>
    private sealed class Line(EnterpriseId owner, long turn)
    {
        private long _turn = turn;
        private long _smallTurn = turn;

        public EnterpriseId Owner { get; } = owner;

        public LinkedList<(T Item, bool IsSmall)> Items { get; } = [];

        /// <summary>The enterprise with the lowest turn is next.</summary>
        public ref long Turn(bool onlySmall) => ref onlySmall ? ref _smallTurn : ref _turn;

        public T? TryTake(bool onlySmall)
        {
            var item = Items.First;
            while (onlySmall && item is { Value.IsSmall: false }) item = item.Next;
            if (item is null) return null;
            Items.Remove(item);
            return item.Value.Item;
        }
    }
}

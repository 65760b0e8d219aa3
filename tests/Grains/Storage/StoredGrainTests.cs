using Instances.Catalogue;
using Orleans;
using Orleans.Runtime;
using Xunit;

namespace Instances.Storage;

public sealed class StoredGrainTests
{
    [Fact]
    public async Task State_WhileAWriteRuns_IsTheOneBefore()
    {
        var stored = new SlowState();
        var grain = new NamedGrain(stored);

        var first = grain.Rename(_ => "one");
        var second = grain.Rename(name => name + ", two");
        await stored.Writes(1);
        Assert.Equal("", grain.Name);

        stored.Finish();
        await first;
        await stored.Writes(2);
        Assert.Equal("one", grain.Name);

        stored.Finish();
        await second;
        Assert.Equal("one, two", grain.Name);
    }

    private sealed record Named(string Name) : IStoredState
    {
        public Named()
            : this("")
        {
        }

        public int Schema => 1;

        public CatalogueEntry? Catalogue => null;
    }

    private sealed class NamedGrain(IPersistentState<Named> stored) : StoredGrain<Named>(stored)
    {
        public string Name => State.Name;

        public Task Rename(Func<string, string> rename) => Save(state => state with { Name = rename(state.Name) });
    }

    /// <summary>Each write waits until the test lets it end.</summary>
    private sealed class SlowState : IPersistentState<Named>
    {
        private readonly SemaphoreSlim _begun = new(0);
        private readonly SemaphoreSlim _mayEnd = new(0);
        private int _writes;

        public Named State { get; set; } = new();

        public string Etag => "";

        public bool RecordExists => _writes > 0;

        public async Task WriteStateAsync()
        {
            _writes++;
            _begun.Release();
            await _mayEnd.WaitAsync();
        }

        public async Task Writes(int number)
        {
            await _begun.WaitAsync();
            Assert.Equal(number, _writes);
        }

        public void Finish() => _mayEnd.Release();

        public Task ClearStateAsync() => throw new NotSupportedException();

        public Task ReadStateAsync() => throw new NotSupportedException();
    }
}

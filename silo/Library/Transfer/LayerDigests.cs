using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace Instances.Library.Transfer;

/// <summary>The digests of sealed layers, computed in the background on request, one at a time, and cached: a sealed layer never changes.</summary>
internal sealed class LayerDigests : IDisposable
{
    /// <summary>How many are cached. Above it all are dropped, and computed again on request.</summary>
    private const int MaxRemembered = 10_000;

    private readonly ConcurrentDictionary<LayerId, Lazy<Task<string>>> _digests = new();
    private readonly SemaphoreSlim _turn = new(1);

    /// <returns>The SHA-256 of the whole file in lower case hex, holes as zeros.</returns>
    public Task<string> Of(LayerId layer, string path)
    {
        if (_digests.Count > MaxRemembered) _digests.Clear();
        var digest = _digests.GetOrAdd(layer, _ => new(() => Task.Run(() => Compute(path)))).Value;

        // An unreadable file may be readable at the next request.
        if (digest.IsFaulted) _digests.TryRemove(layer, out _);
        return digest;
    }

    public void Dispose() => _turn.Dispose();

    private async Task<string> Compute(string path)
    {
        await _turn.WaitAsync();
        try
        {
            await using var file = File.OpenRead(path);
            return Convert.ToHexStringLower(await SHA256.HashDataAsync(file));
        }
        finally
        {
            _turn.Release();
        }
    }
}

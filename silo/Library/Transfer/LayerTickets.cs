using System.Buffers.Text;
using System.Security.Cryptography;

namespace Instances.Library.Transfer;

/// <summary>Tickets that let their holder read one layer for a while. The key lives as long as this process: after a restart others ask for new tickets.</summary>
internal sealed class LayerTickets(TimeProvider time)
{
    /// <summary>How long a ticket is good.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    private const int ExpiryBytes = sizeof(long);
    private const int LayerBytes = 16;

    private readonly byte[] _key = RandomNumberGenerator.GetBytes(HMACSHA256.HashSizeInBytes);

    public string Issue(LayerId layer)
    {
        var expiry = (time.GetUtcNow() + Lifetime).ToUnixTimeMilliseconds();
        return Base64Url.EncodeToString([.. BitConverter.GetBytes(expiry), .. Sign(layer, expiry)]);
    }

    /// <summary>Whether the ticket is ours, for this layer, and not too old.</summary>
    public bool Accepts(LayerId layer, string ticket)
    {
        Span<byte> bytes = stackalloc byte[ExpiryBytes + HMACSHA256.HashSizeInBytes];
        if (!Base64Url.TryDecodeFromChars(ticket, bytes, out var written) || written != bytes.Length) return false;
        var expiry = BitConverter.ToInt64(bytes);
        return CryptographicOperations.FixedTimeEquals(bytes[ExpiryBytes..], Sign(layer, expiry)) && expiry > time.GetUtcNow().ToUnixTimeMilliseconds();
    }

    private byte[] Sign(LayerId layer, long expiry)
    {
        Span<byte> message = stackalloc byte[LayerBytes + ExpiryBytes];
        layer.Value.TryWriteBytes(message);
        BitConverter.TryWriteBytes(message[LayerBytes..], expiry);
        return HMACSHA256.HashData(_key, message);
    }
}

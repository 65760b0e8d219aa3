using System.Buffers.Text;
using System.Security.Cryptography;

namespace Instances.Library.Transfer;

/// <summary>Tickets that allow their holder to read one resource for some time. The key exists as long as this process: after a restart others request new tickets.</summary>
internal abstract class Tickets<TId>(TimeProvider time)
    where TId : struct, IGuidId<TId>
{
    /// <summary>How long a ticket is valid.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    private const int ExpiryBytes = sizeof(long);
    private const int IdBytes = 16;

    private readonly byte[] _key = RandomNumberGenerator.GetBytes(HMACSHA256.HashSizeInBytes);

    public string Issue(TId id)
    {
        var expiry = (time.GetUtcNow() + Lifetime).ToUnixTimeMilliseconds();
        return Base64Url.EncodeToString([.. BitConverter.GetBytes(expiry), .. Sign(id, expiry)]);
    }

    /// <summary>Whether this process issued the ticket for this resource, and it has not expired.</summary>
    public bool Accepts(TId id, string ticket)
    {
        Span<byte> bytes = stackalloc byte[ExpiryBytes + HMACSHA256.HashSizeInBytes];
        if (!Base64Url.IsValid(ticket) || !Base64Url.TryDecodeFromChars(ticket, bytes, out var written) || written != bytes.Length) return false;
        var expiry = BitConverter.ToInt64(bytes);
        return CryptographicOperations.FixedTimeEquals(bytes[ExpiryBytes..], Sign(id, expiry)) && expiry > time.GetUtcNow().ToUnixTimeMilliseconds();
    }

    private byte[] Sign(TId id, long expiry)
    {
        Span<byte> message = stackalloc byte[IdBytes + ExpiryBytes];
        id.Value.TryWriteBytes(message);
        BitConverter.TryWriteBytes(message[IdBytes..], expiry);
        return HMACSHA256.HashData(_key, message);
    }
}

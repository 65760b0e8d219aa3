using System.Security.Cryptography;
using System.Text;
using Instances.Faults;

namespace Instances.Requests;

/// <summary>Creates the ids of the resources that a POST creates. With the header <c>Idempotency-Key</c> they are derived from the request's path and the key, so that
/// a repeat has the same ids on any gateway. Without the header they are new.</summary>
internal sealed class RequestKey
{
    public const string Header = "Idempotency-Key";
    public const int MaxLength = 255;

    private readonly string? _scope;

    private RequestKey(string? scope) => _scope = scope;

    public bool IsGiven => _scope is not null;

    public static RequestKey None { get; } = new(null);

    /// <param name="key">1 to 255 visible ASCII characters.</param>
    public static RequestKey From(string datacenter, string method, string path, string key) =>
        new($"{datacenter.ToLowerInvariant()}\n{method} {path.ToLowerInvariant().TrimEnd('/')}\n{key}");

    public static ValueTask<RequestKey> BindAsync(HttpContext context) => ValueTask.FromResult(Of(context));

    /// <exception cref="BadHttpRequestException">The key is malformed.</exception>
    public static RequestKey Of(HttpContext context)
    {
        var request = context.Request;
        if (!request.Headers.TryGetValue(Header, out var values)) return None;
        var key = values.Count == 1 ? values[0]! : "";
        if (key.Length is 0 or > MaxLength || key.Any(character => character is <= ' ' or > '~'))
            throw new BadHttpRequestException($"{Header} has to be one value of 1 to {MaxLength} visible ASCII characters.");
        return From((string)request.RouteValues["datacenter"]!, request.Method, request.Path, key);
    }

    /// <summary>The key of one attempt of an upload: each attempt has its own ids.</summary>
    /// <param name="number">From 1 on; the first attempt has the ids of the key itself.</param>
    public RequestKey OfAttempt(int number) => number == 1 ? this : new($"{_scope}\nattempt {number}");

    public TId NewId<TId>()
        where TId : struct, IGuidId<TId> =>
        TId.From(_scope is null ? Guid.CreateVersion7() : Derive($"{typeof(TId).Name}\n{_scope}"));

    /// <summary>If the id belongs to another resource, the key was used for that resource before.</summary>
    public async Task<T> Guard<T>(Task<T> create, string conflictCode)
    {
        try
        {
            return await create;
        }
        catch (FaultException exception) when (IsGiven && exception.Fault.Code == conflictCode)
        {
            throw Reused();
        }
    }

    public static FaultException Reused() => FaultException.Invalid(
        "idempotency-key-reused",
        $"The {Header} was sent before with another request. Use a new key for each request.");

    /// <summary>A UUID of version 8: the first 122 free bits of the text's SHA-256.</summary>
    private static Guid Derive(string text)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(text), hash);
        hash[6] = (byte)((hash[6] & 0x0F) | 0x80);
        hash[8] = (byte)((hash[8] & 0x3F) | 0x80);
        return new Guid(hash[..16], bigEndian: true);
    }
}

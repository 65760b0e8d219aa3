using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Requests;

/// <summary>The key of a request that carries an Idempotency-Key: it is derived from the datacenter, the method, the path and that key.</summary>
[GenerateSerializer, Immutable, Alias("instances.RequestId")]
[JsonConverter(typeof(IdJsonConverter<RequestId>))]
public readonly record struct RequestId([property: Id(0)] Guid Value) : IGuidId<RequestId>
{
    public static RequestId From(Guid value) => new(value);

    public static RequestId New() => new(Guid.CreateVersion7());

    public static RequestId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<RequestId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out RequestId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

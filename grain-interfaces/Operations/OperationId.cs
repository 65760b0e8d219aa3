using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Operations;

/// <summary>The key of an operation.</summary>
[GenerateSerializer, Immutable, Alias("instances.OperationId")]
[JsonConverter(typeof(IdJsonConverter<OperationId>))]
public readonly record struct OperationId([property: Id(0)] Guid Value) : IGuidId<OperationId>
{
    public static OperationId From(Guid value) => new(value);

    public static OperationId New() => new(Guid.CreateVersion7());

    public static OperationId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<OperationId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out OperationId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Enterprises;

/// <summary>The key of an enterprise.</summary>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseId")]
[JsonConverter(typeof(IdJsonConverter<EnterpriseId>))]
public readonly record struct EnterpriseId([property: Id(0)] Guid Value) : IGuidId<EnterpriseId>
{
    /// <summary>The default enterprise, the nil UUID. It always exists. Resources without an enterprise belong to it.</summary>
    public static EnterpriseId Default => default;

    public static EnterpriseId From(Guid value) => new(value);

    public static EnterpriseId New() => new(Guid.CreateVersion7());

    public static EnterpriseId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<EnterpriseId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out EnterpriseId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

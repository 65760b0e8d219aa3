using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Appliances;

/// <summary>The key of an appliance.</summary>
[GenerateSerializer, Immutable, Alias("instances.ApplianceId")]
[JsonConverter(typeof(IdJsonConverter<ApplianceId>))]
public readonly record struct ApplianceId([property: Id(0)] Guid Value) : IGuidId<ApplianceId>
{
    public static ApplianceId From(Guid value) => new(value);

    public static ApplianceId New() => new(Guid.CreateVersion7());

    public static ApplianceId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<ApplianceId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out ApplianceId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

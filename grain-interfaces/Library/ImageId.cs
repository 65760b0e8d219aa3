using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The key of an image in the appliance library.</summary>
[GenerateSerializer, Immutable, Alias("instances.ImageId")]
[JsonConverter(typeof(IdJsonConverter<ImageId>))]
public readonly record struct ImageId([property: Id(0)] Guid Value) : IGuidId<ImageId>
{
    public static ImageId From(Guid value) => new(value);

    public static ImageId New() => new(Guid.CreateVersion7());

    public static ImageId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<ImageId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out ImageId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

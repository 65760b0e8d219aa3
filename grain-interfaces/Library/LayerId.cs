using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The key of a layer, and the name of its file without the extension.</summary>
[GenerateSerializer, Immutable, Alias("instances.LayerId")]
[JsonConverter(typeof(IdJsonConverter<LayerId>))]
public readonly record struct LayerId([property: Id(0)] Guid Value) : IGuidId<LayerId>
{
    public static LayerId From(Guid value) => new(value);

    public static LayerId New() => new(Guid.CreateVersion7());

    public static LayerId Parse(string s, IFormatProvider? provider = null) => GuidId.Parse<LayerId>(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out LayerId result) =>
        GuidId.TryParse(s, out result);

    public override string ToString() => GuidId.Format(Value);
}

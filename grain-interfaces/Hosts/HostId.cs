using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace Instances.Hosts;

/// <summary>The name of a host: 1 to 63 letters, digits and hyphens, as in a host name (RFC 1123).</summary>
[GenerateSerializer, Immutable, Alias("instances.HostId")]
[JsonConverter(typeof(HostIdJsonConverter))]
public readonly partial record struct HostId : IParsable<HostId>
{
    public HostId(string name)
    {
        if (!NamePattern().IsMatch(name)) throw new FormatException($"'{name}' is not a host name: 1 to 63 letters, digits and hyphens.");
        Name = name;
    }

    [Id(0)]
    public string Name { get; }

    public static HostId Parse(string s, IFormatProvider? provider = null) => new(s);

    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out HostId result)
    {
        var isName = s is not null && NamePattern().IsMatch(s);
        result = isName ? new(s!) : default;
        return isName;
    }

    public override string ToString() => Name;

    [GeneratedRegex(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z")]
    private static partial Regex NamePattern();

    private sealed class HostIdJsonConverter : JsonConverter<HostId>
    {
        public override HostId Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => new(reader.GetString()!);

        public override void Write(Utf8JsonWriter writer, HostId value, JsonSerializerOptions options) => writer.WriteStringValue(value.Name);
    }
}

using System.Text.Json;
using Instances.Faults;
using Orleans.Storage;

namespace Instances.Storage;

/// <summary>Writes states as plain JSON without type names, so that classes can be renamed and moved.</summary>
internal sealed class StateSerializer : IGrainStorageSerializer
{
    public BinaryData Serialize<T>(T? input) => new(JsonSerializer.SerializeToUtf8Bytes(input, InstancesJson.Options));

    /// <exception cref="FaultException">state-too-new: a later release wrote it. Reading it would drop what that release added, and the next write would lose it.</exception>
    public T? Deserialize<T>(BinaryData input)
    {
        var json = input.ToMemory().Span;
        if (SchemaOf(json) is { } schema && schema > Known<T>.Schema)
        {
            throw new FaultException(new(
                FaultKind.Internal,
                "state-too-new",
                $"A stored {typeof(T).Name} has schema {schema}; this release knows it up to {Known<T>.Schema}. Run the release that wrote it, or a later one."));
        }

        return JsonSerializer.Deserialize<T>(json, InstancesJson.Options);
    }

    private static int? SchemaOf(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            return null;

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var isSchema = reader.ValueTextEquals("schema"u8);
            reader.Read();
            if (isSchema)
                return reader.GetInt32();

            reader.Skip();
        }

        return null;
    }

    private static class Known<T>
    {
        /// <summary>The version of a new state. States without a version are not checked.</summary>
        public static readonly int Schema = typeof(IStoredState).IsAssignableFrom(typeof(T))
            ? ((IStoredState)Activator.CreateInstance(typeof(T), nonPublic: true)!).Schema
            : int.MaxValue;
    }
}

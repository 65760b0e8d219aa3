using System.Text.Json;

namespace Instances;

/// <summary>JSON members of a durable record that this release does not know. They are read and written back, so that an old release does not drop what a later one has added.</summary>
/// <remarks>Every durable record has one, as <c>Unknown</c>: null if there are none. Requests and answers over HTTP have none (<see cref="InstancesJson.Apply"/>).</remarks>
[Immutable]
public sealed class UnknownMembers : Dictionary<string, JsonElement>, IEquatable<UnknownMembers>
{
    /// <summary>The Orleans id of the property in every contract: far above the ids that are counted from 0.</summary>
    public const uint Id = 1000;

    /// <summary>Compares the content, because records are compared by value.</summary>
    public bool Equals(UnknownMembers? other) =>
        other is not null && Count == other.Count && this.All(member => other.TryGetValue(member.Key, out var value) && JsonElement.DeepEquals(member.Value, value));

    public override bool Equals(object? obj) => Equals(obj as UnknownMembers);

    // The order does not matter.
    public override int GetHashCode() => Keys.Aggregate(0, (hash, name) => hash ^ name.GetHashCode(StringComparison.Ordinal));
}

[GenerateSerializer, Immutable, Alias("instances.UnknownMembers")]
internal readonly record struct UnknownMembersSurrogate([property: Id(0)] string Json);

[RegisterConverter]
internal sealed class UnknownMembersConverter : IConverter<UnknownMembers, UnknownMembersSurrogate>
{
    public UnknownMembers ConvertFromSurrogate(in UnknownMembersSurrogate surrogate) => JsonSerializer.Deserialize<UnknownMembers>(surrogate.Json)!;

    public UnknownMembersSurrogate ConvertToSurrogate(in UnknownMembers value) => new(JsonSerializer.Serialize(value));
}

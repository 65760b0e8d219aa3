using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Library;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Xunit;

namespace Instances;

public sealed class UnknownMembersTests
{
    private const string Stored = """{"keepLast":3,"fromTheFuture":{"a":[1,2]}}""";

    private static readonly RetentionRule Rule = JsonSerializer.Deserialize<RetentionRule>(Stored, InstancesJson.Options)!;

    [Fact]
    public void UnknownMember_StoredAndChanged_IsWrittenBack()
    {
        var changed = Rule with { KeepLast = 4 };

        Assert.Equal("""{"keepLast":4,"fromTheFuture":{"a":[1,2]}}""", JsonSerializer.Serialize(changed, InstancesJson.Options));
    }

    [Fact]
    public void UnknownMember_SentToAnotherSilo_ComesWithIt()
    {
        using var services = new ServiceCollection().AddSerializer().BuildServiceProvider();
        var serializer = services.GetRequiredService<Serializer<RetentionRule>>();

        var sent = serializer.Deserialize(serializer.SerializeToArray(Rule));

        Assert.Equal(Rule, sent);
        Assert.Equal(Stored, JsonSerializer.Serialize(sent, InstancesJson.Options));
    }

    [Theory]
    [InlineData(Stored, true)]
    [InlineData("""{"keepLast":3,"fromTheFuture":{"a":[1,3]}}""", false)]
    [InlineData("""{"keepLast":3,"another":{"a":[1,2]}}""", false)]
    [InlineData("""{"keepLast":3}""", false)]
    public void Records_AreComparedWithTheirUnknownMembers(string json, bool areEqual)
    {
        var other = JsonSerializer.Deserialize<RetentionRule>(json, InstancesJson.Options)!;

        Assert.Equal(areEqual, Rule == other);
        if (areEqual) Assert.Equal(Rule.GetHashCode(), other.GetHashCode());
    }

    [Fact]
    public void UnknownMember_OverHttp_IsNeitherShownNorTaken()
    {
        var options = new JsonSerializerOptions(JsonSerializerDefaults.Web) { UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow };
        InstancesJson.Apply(options);

        Assert.Equal("""{"keepLast":3}""", JsonSerializer.Serialize(Rule, options));
        Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<RetentionRule>(Stored, options));
    }
}

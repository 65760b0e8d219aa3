using System.Text.Json;
using CsCheck;
using Instances.Appliances;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances;

public sealed class IdTests
{
    [Fact]
    public void Id_AnyValue_RoundTripsThroughTextAndJson() => Gen.Guid.Sample(value =>
    {
        RoundTrips<ApplianceId>(value);
        RoundTrips<VirtualMachineId>(value);
        RoundTrips<ImageId>(value);
        RoundTrips<LayerId>(value);
        RoundTrips<OperationId>(value);
        RoundTrips<EnterpriseId>(value);
    });

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("019cb3a100007000800000000000000a")]
    [InlineData("{019cb3a1-0000-7000-8000-00000000000a}")]
    [InlineData("(019cb3a1-0000-7000-8000-00000000000a)")]
    [InlineData("019cb3a1-0000-7000-8000-00000000000")]
    [InlineData("019cb3a1-0000-7000-8000-00000000000g")]
    [InlineData("../../../../etc/passwd")]
    public void Id_TextThatIsNoUuidWithHyphens_IsRejected(string text)
    {
        Assert.False(ImageId.TryParse(text, null, out _));
        Assert.Throws<FormatException>(() => ImageId.Parse(text));
        Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<ImageId>(JsonSerializer.Serialize(text), InstancesJson.Options));
    }

    [Theory, InlineData("null"), InlineData("5"), InlineData("{}"), InlineData("[]")]
    public void Id_JsonThatIsNoString_IsRejected(string json) =>
        Assert.ThrowsAny<Exception>(() => JsonSerializer.Deserialize<ImageId>(json, InstancesJson.Options));

    [Fact]
    public void Id_Text_IsLowerCaseWithHyphens() =>
        Assert.Equal("019cb3a1-0000-7000-8000-00000000000a", ImageId.Parse("019CB3A1-0000-7000-8000-00000000000A").ToString());

    [Fact]
    public void NewIds_OneAfterTheOther_AreDifferent() => Assert.NotEqual(OperationId.New(), OperationId.New());

    [Theory]
    [InlineData("a")]
    [InlineData("host-1")]
    [InlineData("H0ST")]
    [InlineData("abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc")]
    public void HostId_HostName_RoundTrips(string name)
    {
        var id = new HostId(name);

        Assert.True(HostId.TryParse(name, null, out var parsed));
        Assert.Equal(id, parsed);
        Assert.Equal(id, JsonSerializer.Deserialize<HostId>(JsonSerializer.Serialize(id, InstancesJson.Options), InstancesJson.Options));
    }

    [Theory]
    [InlineData("")]
    [InlineData("-a")]
    [InlineData("a-")]
    [InlineData("a b")]
    [InlineData("a.b")]
    [InlineData("a/b")]
    [InlineData("a\n")]
    [InlineData("ä")]
    [InlineData("abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd")]
    public void HostId_NoHostName_IsRejected(string name)
    {
        Assert.False(HostId.TryParse(name, null, out _));
        Assert.Throws<FormatException>(() => new HostId(name));
    }

    private static void RoundTrips<TId>(Guid value)
        where TId : struct, IGuidId<TId>
    {
        var id = TId.From(value);
        var text = id.ToString()!;
        Assert.Equal(value, id.Value);
        Assert.Equal(36, text.Length);
        Assert.Equal(id, TId.Parse(text, null));
        Assert.True(TId.TryParse(text, null, out var parsed));
        Assert.Equal(id, parsed);
        Assert.Equal(id, JsonSerializer.Deserialize<TId>(JsonSerializer.Serialize(id, InstancesJson.Options), InstancesJson.Options));
    }
}

using CsCheck;
using Instances.Appliances;
using Instances.Library;
using Instances.Operations;
using Xunit;

namespace Instances.Requests;

public sealed class RequestKeyTests
{
    /// <summary>The ids must be the same in every gateway of every release, because a repeat can reach another gateway after an upgrade.</summary>
    [Fact]
    public void Id_OfAKey_NeverChanges() => Assert.Equal(
        "2e01ca6b-b4c1-8174-afd9-d331afc1973f",
        RequestKey.From("local", "POST", "/api/v1/datacenters/local/appliances", "key-1").NewId<ApplianceId>().ToString());

    [Fact]
    public void Id_OfAnyKey_IsAUuidOfVersion8() => Gen.String[Gen.Char['!', '~'], 1, RequestKey.MaxLength].Sample(key =>
    {
        var id = RequestKey.From("local", "POST", "/appliances", key).NewId<ApplianceId>();
        Assert.Equal(8, id.Value.Version);
        Assert.InRange(id.Value.Variant, 8, 11);
        Assert.Equal(id, RequestKey.From("local", "POST", "/appliances", key).NewId<ApplianceId>());
    });

    [Fact]
    public void Id_OfAnotherKeyPathMethodDatacenterOrType_IsAnother()
    {
        Guid[] ids =
        [
            RequestKey.From("east", "POST", "/appliances", "a").NewId<ApplianceId>().Value,
            RequestKey.From("west", "POST", "/appliances", "a").NewId<ApplianceId>().Value,
            RequestKey.From("east", "PUT", "/appliances", "a").NewId<ApplianceId>().Value,
            RequestKey.From("east", "POST", "/images", "a").NewId<ApplianceId>().Value,
            RequestKey.From("east", "POST", "/appliances", "b").NewId<ApplianceId>().Value,
            RequestKey.From("east", "POST", "/appliances", "A").NewId<ApplianceId>().Value,
            RequestKey.From("east", "POST", "/appliances", "a").NewId<ImageId>().Value,
            RequestKey.From("east", "POST", "/appliances", "a").NewId<OperationId>().Value,
        ];

        Assert.Equal(ids.Length, ids.Distinct().Count());
    }

    [Fact]
    public void Id_OfTheSamePathSpeltOtherwise_IsTheSame() => Assert.Equal(
        RequestKey.From("local", "POST", "/appliances", "a").NewId<ApplianceId>(),
        RequestKey.From("LOCAL", "POST", "/Appliances/", "a").NewId<ApplianceId>());

    [Fact]
    public void Id_WithoutAKey_IsNewEachTime() => Assert.NotEqual(RequestKey.None.NewId<ApplianceId>(), RequestKey.None.NewId<ApplianceId>());
}

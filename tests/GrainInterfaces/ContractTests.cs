using System.Reflection;
using Instances.Appliances;
using Orleans;
using Xunit;

namespace Instances;

/// <summary>Messages between releases are identified by aliases and ids, never by the names of types.</summary>
public sealed class ContractTests
{
    private static readonly Type[] Types = typeof(ApplianceId).Assembly.GetTypes();

    private static readonly Type[] Serialized = [.. Types.Where(type => type.IsDefined(typeof(GenerateSerializerAttribute), inherit: false))];

    private static readonly Type[] Grains = [.. Types.Where(type => type.IsInterface && typeof(IAddressable).IsAssignableFrom(type))];

    public static TheoryData<Type> AllSerialized => [.. Serialized];

    public static TheoryData<Type> AllGrains => [.. Grains];

    [Fact]
    public void Contracts_All_AreSeen()
    {
        Assert.True(Serialized.Length > 30);
        Assert.True(Grains.Length > 7);
    }

    [Fact]
    public void Aliases_All_AreUniqueAndOfThisProduct()
    {
        var aliases = Serialized.Concat(Grains).Select(AliasOf).ToList();

        Assert.All(aliases, alias => Assert.StartsWith("instances.", alias, StringComparison.Ordinal));
        Assert.Equal(aliases.Order(StringComparer.Ordinal), aliases.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal));
    }

    [Theory, MemberData(nameof(AllSerialized))]
    public void Serialized_Members_HaveIdsOnceAndWithoutGaps(Type type)
    {
        var members = type.GetMembers(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(member => member is PropertyInfo or FieldInfo)
            .ToList();
        var ids = members.Select(member => member.GetCustomAttribute<IdAttribute>()?.Id).OfType<uint>().Where(id => id != UnknownMembers.Id).Order().ToList();

        Assert.Equal(Enumerable.Range(0, ids.Count).Select(id => (uint)id), ids);
    }

    /// <summary>A stored property without an id would be lost in messages.</summary>
    [Theory, MemberData(nameof(AllSerialized))]
    public void Serialized_StoredProperties_AllHaveIds(Type type)
    {
        var stored = type.GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(property => type.GetField($"<{property.Name}>k__BackingField", BindingFlags.NonPublic | BindingFlags.Instance) is not null);

        Assert.All(stored, property => Assert.True(property.IsDefined(typeof(IdAttribute)), $"{type.Name}.{property.Name} has no [Id]."));
    }

    [Theory, MemberData(nameof(AllGrains))]
    public void Grain_Methods_HaveUniqueAliases(Type type)
    {
        var aliases = type.GetMethods().Select(method => method.GetCustomAttribute<AliasAttribute>()?.Alias).ToList();

        Assert.DoesNotContain(null, aliases);
        Assert.Equal(aliases.Count, aliases.Distinct(StringComparer.Ordinal).Count());
    }

    private static string AliasOf(MemberInfo member) => member.GetCustomAttribute<AliasAttribute>(inherit: false)?.Alias ?? $"none of {member.Name}";
}

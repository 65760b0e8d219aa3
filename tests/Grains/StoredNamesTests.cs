using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Testing;
using Instances.VirtualMachines;
using Orleans;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests;

/// <summary>The names in the database: rows are found by the state's name and the grain's key, not by the grain's class, and values by the names of properties.</summary>
public sealed class StoredNamesTests
{
    private static readonly string Pinned = Path.Combine(Repository.Root, "tests", "Grains", "stored-names.txt");

    private static readonly IReadOnlyList<(string Name, Type State)> States =
    [
        .. typeof(Drain).Assembly.GetTypes().SelectMany(type => type.GetConstructors()).SelectMany(constructor => constructor.GetParameters())
            .Select(parameter => (Attribute: parameter.GetCustomAttribute<PersistentStateAttribute>(), parameter.ParameterType))
            .Where(state => state.Attribute is not null)
            .Select(state => (state.Attribute!.StateName, state.ParameterType.GenericTypeArguments[0])).OrderBy(state => state.Item1, StringComparer.Ordinal),
    ];

    [Fact]
    public void EveryGrainClass_HasAStateNameOfItsOwn()
    {
        Assert.NotEmpty(States);
        Assert.Equal(States.Select(state => state.Name).Distinct(), States.Select(state => state.Name));
    }

    /// <summary>A changed name is not found in stored records: give the property its old name with JsonPropertyName, or the state a new schema that reads both.
    /// Run with UPDATE_STORED_NAMES=1 to pin added names.</summary>
    [Fact]
    public void StoredNames_AreThoseThatAreStoredAlready()
    {
        var names = States.Select(state => $"state {state.Name}: {state.State.Name}").Concat(States.SelectMany(state => Reach(state.State, [])).Distinct().Order(StringComparer.Ordinal)).ToList();
        if (Environment.GetEnvironmentVariable("UPDATE_STORED_NAMES") == "1") File.WriteAllLines(Pinned, names);

        Assert.Equal(File.ReadAllLines(Pinned), names);
    }

    /// <summary>Old and new releases run side by side in a rolling upgrade, and states are written whole: members that an old release does not know must survive its writes.</summary>
    [Fact]
    public void DurableRecords_All_KeepUnknownMembers()
    {
        HashSet<Type> seen = [];
        foreach (var (_, state) in States) _ = Reach(state, seen).Count();

        var records = seen.Where(type => type.IsClass).ToList();

        Assert.True(records.Count > 50);
        Assert.All(records, type =>
        {
            var unknown = type.GetProperty("Unknown", typeof(UnknownMembers));
            Assert.True(unknown?.IsDefined(typeof(JsonExtensionDataAttribute)), $"{type.Name} is stored: give it [JsonExtensionData] public UnknownMembers? Unknown {{ get; init; }}");
            if (type.IsDefined(typeof(GenerateSerializerAttribute), inherit: false)) Assert.Equal(UnknownMembers.Id, unknown!.GetCustomAttribute<IdAttribute>()?.Id);
        });
    }

    [Fact]
    public void State_ChangedByThisRelease_KeepsWhatALaterOneHasWritten()
    {
        const string Stored = """
            {"schema":1,"fromTheFuture":{"a":1},"appliance":"01a22982-95a4-4d64-a4b6-0d3a8c0d7b10","spec":{"name":"web","image":"01a22982-95a4-4d64-a4b6-0d3a8c0d7b11","firmware":"uefi"},
            "deployment":{"operation":"01a22982-95a4-4d64-a4b6-0d3a8c0d7b12","host":"one","disks":[{"layers":[],"virtualSizeBytes":1,"bus":"scsi"}],"ownLayers":[],"portForwards":[{"guestPort":80,"label":"x"}],"vni":7}}
            """;
        var state = JsonSerializer.Deserialize<VirtualMachineState>(Stored, InstancesJson.Options)!;

        var written = JsonSerializer.SerializeToElement(state with { Deployment = state.Deployment! with { Problem = "a change" } }, InstancesJson.Options);

        Assert.Equal(1, written.GetProperty("fromTheFuture").GetProperty("a").GetInt32());
        Assert.Equal("uefi", written.GetProperty("spec").GetProperty("firmware").GetString());
        var deployment = written.GetProperty("deployment");
        Assert.Equal((7, "a change"), (deployment.GetProperty("vni").GetInt32(), deployment.GetProperty("problem").GetString()));
        Assert.Equal("scsi", deployment.GetProperty("disks")[0].GetProperty("bus").GetString());
        Assert.Equal("x", deployment.GetProperty("portForwards")[0].GetProperty("label").GetString());
    }

    /// <summary>The type, and all types of this product that it contains.</summary>
    private static IEnumerable<string> Reach(Type type, HashSet<Type> seen)
    {
        foreach (var part in type.IsArray ? [type.GetElementType()!] : type.GenericTypeArguments)
        {
            foreach (var name in Reach(part, seen)) yield return name;
        }

        if (type.Namespace?.StartsWith("Instances", StringComparison.Ordinal) != true || type.IsGenericType || !seen.Add(type)) yield break;
        if (type.IsEnum)
        {
            foreach (var value in Enum.GetNames(type)) yield return $"{type.Name} {value}";
            yield break;
        }

        foreach (var property in type.GetProperties().Where(property => property.CanWrite && property.PropertyType != typeof(UnknownMembers)))
        {
            yield return $"{type.Name}.{property.GetCustomAttribute<JsonPropertyNameAttribute>()?.Name ?? property.Name}";
            foreach (var name in Reach(property.PropertyType, seen)) yield return name;
        }
    }
}

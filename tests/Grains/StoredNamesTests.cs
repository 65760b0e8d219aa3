using System.Reflection;
using System.Text.Json.Serialization;
using Instances.Testing;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests;

/// <summary>What stands in the database: rows are found by the state's name and the grain's key, not by the grain's class, and values by the names of properties.</summary>
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

    /// <summary>A name that changes is not found in what is stored: give its property the old name by JsonPropertyName, or the state a new schema that reads both.
    /// What is only added is pinned by a run with UPDATE_STORED_NAMES=1.</summary>
    [Fact]
    public void StoredNames_AreThoseThatAreStoredAlready()
    {
        var names = States.Select(state => $"state {state.Name}: {state.State.Name}").Concat(States.SelectMany(state => Reach(state.State, [])).Distinct().Order(StringComparer.Ordinal)).ToList();
        if (Environment.GetEnvironmentVariable("UPDATE_STORED_NAMES") == "1") File.WriteAllLines(Pinned, names);

        Assert.Equal(File.ReadAllLines(Pinned), names);
    }

    /// <summary>The type and all of ours that it is made of.</summary>
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

        foreach (var property in type.GetProperties().Where(property => property.CanWrite))
        {
            yield return $"{type.Name}.{property.GetCustomAttribute<JsonPropertyNameAttribute>()?.Name ?? property.Name}";
            foreach (var name in Reach(property.PropertyType, seen)) yield return name;
        }
    }
}

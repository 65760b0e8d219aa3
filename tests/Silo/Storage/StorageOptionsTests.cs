using System.ComponentModel.DataAnnotations;
using Instances.Hosting;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Storage;

public sealed class StorageOptionsTests
{
    [Theory]
    [InlineData("Sqlite", "", null)]
    [InlineData("PostgreSql", "Host=db;Database=instances;Username=u;Password=hidden", null)]
    [InlineData("PostgreSql", "", "is missing")]
    [InlineData("PostgreSql", "Host=db;Password=hidden", "names no Host or no Database")]
    [InlineData("PostgreSql", "Hst=db;Password=hidden", "cannot be read")]
    [InlineData("PostgreSql", "hidden", "cannot be read")]
    [InlineData("Sqlite", "Host=db;Password=hidden", "is for PostgreSQL")]
    public void ConnectionString_OfEachKind_IsJudgedWithoutItsSecrets(string provider, string connectionString, string? refusal)
    {
        var options = new StorageOptions { Provider = Enum.Parse<StorageProvider>(provider), ConnectionString = connectionString };
        var results = new List<ValidationResult>();

        var isValid = Validator.TryValidateObject(options, new(options), results, validateAllProperties: true);

        Assert.Equal(refusal is null, isValid);
        if (refusal is null) return;
        var sentence = Assert.Single(results).ErrorMessage!;
        Assert.Contains(refusal, sentence, StringComparison.Ordinal);
        Assert.DoesNotContain("hidden", sentence, StringComparison.Ordinal);
    }

    [Fact]
    public void StartErrors_OfSeveralSections_AreAllSaid_AndDefectsAreNot()
    {
        var several = new AggregateException(new OptionsValidationException("a", typeof(object), ["one", "two"]), new MigrationException("three", new IOException()));

        Assert.Equal(["one", "two", "three"], StartErrors.Sentences(several));
        Assert.Empty(StartErrors.Sentences(new AggregateException(new OptionsValidationException("a", typeof(object), ["one"]), new InvalidOperationException("defect"))));
    }
}

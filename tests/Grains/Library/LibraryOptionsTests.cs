using System.ComponentModel.DataAnnotations;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class LibraryOptionsTests
{
    [Theory]
    [InlineData("https://gateway.example/api/v1/datacenters/west")]
    [InlineData("http://10.0.0.1:8080/api/v1/datacenters/local/")]
    [InlineData("https://proxy.example/instances/api/v1/datacenters/west-2")]
    public void Peers_ThatAreDatacenters_AreTaken(string url) => Assert.Empty(Errors(url));

    [Theory]
    [InlineData("")]
    [InlineData("west")]
    [InlineData("/api/v1/datacenters/west")]
    [InlineData("ftp://gateway.example/api/v1/datacenters/west")]
    [InlineData("https://gateway.example")]
    [InlineData("https://gateway.example/api/v1/datacenters/")]
    [InlineData("https://gateway.example/api/v1/datacenters/west/library")]
    [InlineData("https://me:secret@gateway.example/api/v1/datacenters/west")]
    [InlineData("https://gateway.example/api/v1/datacenters/west?x=1")]
    [InlineData("https://gateway.example/api/v1/datacenters/west#x")]
    public void Peers_ThatAreNoDatacenters_AreRefused(string url) => Assert.Contains("Library:Peers:0:Url must be", Assert.Single(Errors(url)), StringComparison.Ordinal);

    [Theory]
    [InlineData("https://me:secret@gateway.example/api/v1/datacenters/west", "not shown, because it may contain one.")]
    [InlineData("https://gateway.example/api/v1/datacenters/west?token=secret", "not shown, because it may contain one.")]
    [InlineData("me:secret@gateway.example", "not shown, because it may contain one.")]
    [InlineData("west", "'west'.")]
    public void Peers_ThatAreRefused_AreShownWithoutTheirSecrets(string url, string shown)
    {
        var error = Assert.Single(Errors(url))!;

        Assert.EndsWith($"it is {shown}", error, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Errors_AreAllToldAtOnce()
    {
        var options = new LibraryOptions { MaxUploads = 0, Peers = [new() { Url = "west" }, new() { Url = "https://gateway.example/api/v1/datacenters/west" }, new() { Url = "south" }] };

        var errors = Errors(options);

        Assert.Equal(2, errors.Count);
        Assert.Contains(errors, error => error!.Contains("Peers:0", StringComparison.Ordinal) && error.Contains("Peers:2", StringComparison.Ordinal) && !error.Contains("Peers:1", StringComparison.Ordinal));
    }

    private static List<string?> Errors(string url) => Errors(new LibraryOptions { Peers = [new() { Url = url }] });

    /// <summary>As the host does at start.</summary>
    private static List<string?> Errors(LibraryOptions options)
    {
        var results = new List<ValidationResult>();
        Validator.TryValidateObject(options, new(options), results, validateAllProperties: true);
        return [.. results.Select(result => result.ErrorMessage)];
    }
}

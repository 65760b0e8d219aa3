using System.Text.Json;
using Xunit;

namespace Instances.OpenApi;

/// <summary>The OpenAPI document is in the repository, so that changes of it are visible. After an intended change run
/// <c>UPDATE_OPENAPI=1 dotnet run --project tests/ApiGateway</c>.</summary>
public sealed class OpenApiTests(Gateway gateway)
{
    private static readonly string[] Methods = ["get", "post", "put", "patch", "delete"];

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Document_Served_IsTheOneInTheRepository()
    {
        var file = Path.Combine(Repository(), "api-gateway", "server", "openapi.json");
        var served = await Document() + "\n";
        if (Environment.GetEnvironmentVariable("UPDATE_OPENAPI") == "1") await File.WriteAllTextAsync(file, served, Cancelled);

        Assert.Equal(await File.ReadAllTextAsync(file, Cancelled), served);
    }

    [Fact]
    public async Task Document_EveryOperation_HasASummaryATagAndAProblem()
    {
        using var document = JsonDocument.Parse(await Document());
        var operations = document.RootElement.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Where(method => Methods.Contains(method.Name)).Select(method => (Path: path.Name, method.Value)))
            .ToList();

        Assert.True(operations.Count > 20);
        Assert.All(operations, operation =>
        {
            Assert.NotEmpty(operation.Value.GetProperty("summary").GetString()!);
            Assert.NotEmpty(operation.Value.GetProperty("tags").EnumerateArray());
            if (operation.Path.StartsWith("/api/", StringComparison.Ordinal)) Assert.True(operation.Value.GetProperty("responses").TryGetProperty("default", out _));
            if (operation.Path.Contains("{datacenter}", StringComparison.Ordinal))
                Assert.Contains(operation.Value.GetProperty("parameters").EnumerateArray(), parameter => parameter.GetProperty("name").GetString() == "datacenter");
        });
    }

    [Fact]
    public async Task Document_EverySchema_SaysWhatItIs()
    {
        using var document = JsonDocument.Parse(await Document());

        Assert.All(document.RootElement.GetProperty("components").GetProperty("schemas").EnumerateObject(), schema =>
            Assert.True(schema.Value.TryGetProperty("type", out _) || schema.Value.TryGetProperty("oneOf", out _), $"{schema.Name} is anything."));
    }

    [Fact]
    public async Task Page_OfTheReference_LoadsNothingFromElsewhere()
    {
        var page = await gateway.Http.GetStringAsync("/docs/", Cancelled);

        Assert.DoesNotContain("http://", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https://", page, StringComparison.Ordinal);
        using var script = await gateway.Http.GetAsync("/docs/scalar.js", Cancelled);
        Assert.True(script.IsSuccessStatusCode);
    }

    [Fact]
    public async Task Root_LeadsToTheReference()
    {
        using var response = await gateway.Http.GetAsync("/", Cancelled);

        Assert.Equal("/docs/", response.RequestMessage!.RequestUri!.AbsolutePath);
    }

    private Task<string> Document() => gateway.Http.GetStringAsync("/openapi/v1.json", Cancelled);

    private static string Repository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Instances.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("The repository was not found above the tests.");
        return folder.FullName;
    }
}

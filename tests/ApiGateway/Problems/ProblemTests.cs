using System.Net.Http.Headers;
using System.Text;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Problems;

public sealed class ProblemTests(Gateway gateway)
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(FaultKind.NotFound, 404)]
    [InlineData(FaultKind.Conflict, 409)]
    [InlineData(FaultKind.Invalid, 422)]
    [InlineData(FaultKind.Forbidden, 403)]
    [InlineData(FaultKind.Capacity, 507)]
    [InlineData(FaultKind.Unavailable, 503)]
    public async Task Fault_OfEachKind_IsAProblemWithItsSentence(FaultKind kind, int status)
    {
        var id = Failing(new FaultException(new(kind, "some-code", "What was found, and what to do.")));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        var problem = await response.AssertProblem(status, "some-code");
        Assert.Equal("What was found, and what to do.", problem.GetProperty("detail").GetString());
        Assert.Equal(status == 503, response.Headers.RetryAfter is not null);
    }

    [Fact]
    public async Task Problem_ItsType_LeadsToAPage()
    {
        using var response = await gateway.Http.Get($"/appliances/{Failing(new FaultException(new(FaultKind.Conflict, "some-code", "What was found.")))}");
        var type = (await response.AssertProblem(409, "some-code")).GetProperty("type").GetString();
        Assert.Equal(["nosniff"], response.Headers.GetValues("X-Content-Type-Options"));

        using var page = await gateway.Http.GetAsync(type, Cancelled);
        using var none = await gateway.Http.GetAsync("/problems/Some%3CCode", Cancelled);

        Assert.StartsWith("some-code\n", await page.Content.ReadAsStringAsync(Cancelled), StringComparison.Ordinal);
        Assert.Equal("text/plain", page.Content.Headers.ContentType?.MediaType);
        await none.AssertProblem(404, "path-not-found");
    }

    [Fact]
    public async Task InternalFault_ItsSentence_StaysInTheLog()
    {
        var id = Failing(new FaultException(new(FaultKind.Internal, "state-broken", "row 7 of the table is odd")));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        var problem = await response.AssertProblem(500, "state-broken");
        Assert.DoesNotContain("row 7", problem.GetRawText(), StringComparison.Ordinal);
        var trace = problem.GetProperty("traceId").GetString()!;
        var line = Assert.Single(gateway.Logs.Lines, line => line.Text.Contains(trace, StringComparison.Ordinal) && line.Level is LogLevel.Error);
        Assert.Contains("row 7", line.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GrainThatCannotBeActivated_IsAwayAtTheMoment()
    {
        var id = Failing(new OrleansException("Error from storage provider: password of the database"));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        var problem = await response.AssertProblem(503, "grain-unavailable");
        Assert.NotNull(response.Headers.RetryAfter);
        Assert.DoesNotContain("password", problem.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ForeignException_OfAGrain_IsHidden()
    {
        var id = Failing(new InvalidOperationException("password of the database"));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        var problem = await response.AssertProblem(500, "internal");
        Assert.DoesNotContain("password", problem.GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain(" at ", problem.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Refusal_OfThePerson_IsNotLoggedAsAFailure()
    {
        var id = Failing(FaultException.Conflict("appliance-busy", "It is busy."));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        await response.AssertProblem(409, "appliance-busy");
        Assert.DoesNotContain(gateway.Logs.Lines, line => line.Level >= LogLevel.Warning && line.Text.Contains($"{id}", StringComparison.Ordinal));
    }

    public static TheoryData<Exception> Interruptions =>
    [
        new SiloUnavailableException("gone"), new GatewayTooBusyException("full"),
    ];

    [Theory, MemberData(nameof(Interruptions), DisableDiscoveryEnumeration = true)]
    public async Task Datacenter_ThatDoesNotAnswer_IsUnavailable(Exception exception)
    {
        var id = Failing(exception);

        using var response = await gateway.Http.Get($"/appliances/{id}");

        await response.AssertProblem(503, "datacenter-unavailable");
        Assert.NotNull(response.Headers.RetryAfter);
    }

    [Fact]
    public async Task Datacenter_ThatDoesNotAnswerInTime_IsATimeoutThatSaysWhatToDo()
    {
        var id = Failing(new TimeoutException("9 s"));

        using var response = await gateway.Http.Get($"/appliances/{id}");

        await response.AssertProblem(504, "datacenter-timeout");
        Assert.NotNull(response.Headers.RetryAfter);
    }

    [Fact]
    public async Task Datacenter_Unknown_IsNotFound()
    {
        using var response = await gateway.Http.GetAsync("/api/v1/datacenters/nowhere/appliances", Cancelled);

        await response.AssertProblem(404, "datacenter-not-found");
    }

    [Theory, InlineData("/nothing"), InlineData("/api/v1/nothing"), InlineData("/api/v1/datacenters/local/nothing")]
    public async Task Path_Unknown_IsNotFound(string path)
    {
        using var response = await gateway.Http.GetAsync(path, Cancelled);

        await response.AssertProblem(404, "path-not-found");
    }

    [Fact]
    public async Task Method_Unknown_IsNotAllowed()
    {
        using var response = await gateway.Http.PutAsync($"{Local}/appliances", content: null, Cancelled);

        await response.AssertProblem(405, "method-not-allowed");
    }

    [Theory]
    [InlineData("/appliances/x")]
    [InlineData("/appliances/019cb3a100007000800000000000000a")]
    [InlineData("/images?kind=king")]
    [InlineData("/images?kind=0")]
    [InlineData("/images?status=-1")]
    [InlineData("/images?master=x")]
    [InlineData("/images?limit=many")]
    [InlineData("/operations?appliance=x")]
    public async Task Parameter_ThatIsNone_IsMalformedAndNamed(string path)
    {
        using var response = await gateway.Http.Get(path);

        var problem = await response.AssertProblem(400, "request-malformed");
        var detail = problem.GetProperty("detail").GetString()!;
        Assert.DoesNotContain("Nullable", detail, StringComparison.Ordinal);
        Assert.DoesNotContain("Instances.", detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "JSON body")]
    [InlineData("{", "$")]
    [InlineData("{]", "$")]
    [InlineData("[]", "$")]
    [InlineData("null", "")]
    [InlineData("{}", "'name'")]
    [InlineData("""{"name":null}""", "$.name")]
    [InlineData("""{"name":7}""", "$.name")]
    [InlineData("""{"name":"a","colour":"red"}""", "'colour'")]
    [InlineData("""{"name":"\ud800"}""", "surrogate")]
    [InlineData("""{"name":"a","retention":{"keepLast":1e9}}""", "without a fraction or an exponent")]
    public async Task Json_Malformed_SaysWhatIsWrong(string json, string what)
    {
        using var response = await gateway.Http.Post("/appliances", json);

        var problem = await response.AssertProblem(400, "request-malformed");
        var detail = problem.GetProperty("detail").GetString()!;
        Assert.Contains(what, detail, StringComparison.Ordinal);
        Assert.DoesNotContain("Instances.", detail, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"quiesce":"froze"}""")]
    [InlineData("""{"quiesce":0}""")]
    [InlineData("""{"virtualMachines":"some"}""")]
    [InlineData("""{"virtualMachines":["x"]}""")]
    [InlineData("""{"virtualMachines":{}}""")]
    [InlineData("""{"updateImages":"yes"}""")]
    [InlineData("""{"updateImage":true}""")]
    public async Task CreateInstance_Malformed_IsRefused(string json)
    {
        using var response = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/instances", json);

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Json_OfAnotherMediaType_IsUnsupported()
    {
        using var content = new StringContent("""{"name":"a"}""", Encoding.UTF8, "text/plain");
        using var response = await gateway.Http.PostAsync($"{Local}/appliances", content, Cancelled);

        await response.AssertProblem(415, "media-type-unsupported");
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Json_TooLarge_IsRefused(bool chunked)
    {
        var json = $$"""{"name":"{{new string('a', (int)ApiGateway.ApiGateway.MaxJsonBytes)}}"}""";
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Local}/appliances") { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        request.Headers.TransferEncodingChunked = chunked;
        // The body is not sent, because otherwise the connection may break before the answer.
        request.Headers.ExpectContinue = true;

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        await response.AssertProblem(413, "body-too-large");
    }

    [Theory, InlineData("limit=0"), InlineData("limit=1001"), InlineData("limit=-1")]
    public async Task Limit_OutOfRange_IsInvalid(string query)
    {
        using var response = await gateway.Http.Get($"/images?{query}");

        await response.AssertProblem(422, "limit-out-of-range");
    }

    [Fact]
    public async Task Cursor_ThatNobodyGave_IsInvalid()
    {
        using var response = await gateway.Http.Get("/appliances?cursor=bad");

        await response.AssertProblem(422, "cursor-invalid");
    }

    [Theory]
    [InlineData("Sec-Fetch-Site", "cross-site", true)]
    [InlineData("Sec-Fetch-Site", "same-site", true)]
    [InlineData("Sec-Fetch-Site", "same-origin", false)]
    [InlineData("Origin", "https://evil.example", true)]
    [InlineData("Origin", "null", true)]
    public async Task Change_FromAPageOfAnotherSite_IsForbidden(string header, string value, bool isRefused)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Local}/appliances/{ApplianceId.New()}/deploy");
        request.Headers.Add(header, value);

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        if (isRefused) await response.AssertProblem(403, "cross-origin");
        else Assert.Equal(202, (int)response.StatusCode);
    }

    [Theory, InlineData("evil.example", 400), InlineData("localhost", 200), InlineData("127.0.0.1", 200)]
    public async Task Request_ToAnotherNameOfALoopbackAddress_IsRefused(string host, int status)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/healthz");
        request.Headers.Host = host;

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        if (status == 400) await response.AssertProblem(400, "host-unknown");
        else Assert.Equal(status, (int)response.StatusCode);
    }

    [Fact]
    public async Task Problem_ForAReaderOfOtherTypes_IsStillAProblem()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Local}/images/{ImageId.New()}");
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("text/event-stream"));

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        await response.AssertProblem(404, "image-not-found");
    }

    private ApplianceId Failing(Exception exception)
    {
        var id = ApplianceId.New();
        gateway.Datacenter.Failures[id.Value] = exception;
        return id;
    }
}

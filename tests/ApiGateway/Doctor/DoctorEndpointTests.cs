using Instances.Client;
using Xunit;

namespace Instances.Doctor;

public sealed class DoctorEndpointTests(Gateway gateway)
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task Examine_ByTheClient_AnswersTheReport(bool fix)
    {
        var report = await new InstancesClient(gateway.Http).Examine(fix, TestContext.Current.CancellationToken);

        var finding = Assert.Single(report.Findings);
        Assert.Equal(("layer-orphan", FindingSeverity.Warning, true, fix), (finding.Code, finding.Severity, finding.Fixable, finding.Fixed));
        Assert.Equal((1, 6), (report.Counts.Hosts, report.Counts.Images));
    }

    [Fact]
    public async Task Post_WithoutFix_ChangesNothing()
    {
        using var response = await gateway.Http.Post("/doctor", """{"fix":false}""");

        Assert.False(Assert.Single((await response.Read<DoctorReport>()).Findings).Fixed);
    }

    [Theory, InlineData("{}"), InlineData("""{"fix":"yes"}""")]
    public async Task Post_Malformed_IsRefused(string json)
    {
        using var response = await gateway.Http.Post("/doctor", json);

        await response.AssertProblem(400, "request-malformed");
    }
}

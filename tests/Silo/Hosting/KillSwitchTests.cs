using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Hosting;

public sealed class KillSwitchTests
{
    [Fact]
    public void KillFile_OfASiloThatIsNotATests_IsRefused()
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = ["--Testing:KillFile=/kill"], EnvironmentName = "Production" });

        var exception = Assert.Throws<OptionsValidationException>(builder.AddKillSwitch);

        Assert.Contains("it needs the environment Testing, and this is Production", exception.Message, StringComparison.Ordinal);
    }
}

using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Xunit;

namespace Instances.Library;

public sealed class DigestedBodyTests
{
    [Fact]
    public void Export_ItsReceiver_HasToTakeAMinimumInASecond()
    {
        var (context, rate) = (new DefaultHttpContext(), new Rate());
        context.Features.Set<IHttpMinResponseDataRateFeature>(rate);

        _ = new DigestedBody(context.Response);

        Assert.Equal(DigestedBody.MinBytesPerSecond, rate.MinDataRate?.BytesPerSecond);
    }

    private sealed class Rate : IHttpMinResponseDataRateFeature
    {
        public MinDataRate? MinDataRate { get; set; } = new(240, TimeSpan.FromSeconds(5));
    }
}

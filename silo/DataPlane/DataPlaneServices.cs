using Instances.Faults;
using Instances.Library;
using Instances.Library.Export;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Instances.DataPlane;

internal static class DataPlaneServices
{
    /// <summary>Provides the addresses at which this silo receives and sends bytes. Section <c>DataPlane</c>.</summary>
    public static IServiceCollection AddDataPlane(this IServiceCollection services)
    {
        services.AddOptions<DataPlaneOptions>().BindConfiguration("DataPlane").ValidateDataAnnotations().ValidateOnStart();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<ExportTickets>();
        return services.AddSingleton<IDataPlane, ServerDataPlane>();
    }

    /// <summary>The configured address, or the one that this process' web server listens on.</summary>
    private sealed class ServerDataPlane(IServer server, ExportTickets exports, IOptions<DataPlaneOptions> options) : IDataPlane
    {
        public Uri UploadAddress(ImageId image) => new(RequireBase(), $"{DataPlaneEndpoints.Path}/{image}");

        public ExportTicket OfferExport(ImageId image) => new(new(RequireBase(), $"{DataPlaneEndpoints.Path}/{image}/export"), exports.Issue(image));

        public Uri? LayerAddress(LayerId layer) => Base is { } address ? new(address, $"{LayerEndpoints.Path}/{layer}") : null;

        private Uri RequireBase() =>
            Base ?? throw FaultException.Unavailable("data-plane-unknown", "This silo listens on all its addresses and does not know which one others can reach: set DataPlane:Address.");

        private Uri? Base => options.Value.Address is { Length: > 0 } configured ? new(configured)
            : BindingAddress.Parse(Listening) is var listening && IsWildcard(listening.Host) ? null
            : new(listening.ToString());

        /// <summary>A starting silo has grains before its web server listens.</summary>
        private string Listening => server.Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault()
            ?? throw FaultException.Unavailable("grain-unavailable", "The silo that has the bytes is starting: try again.");

        private static bool IsWildcard(string host) => host is "*" or "+" or "0.0.0.0" or "[::]";
    }
}

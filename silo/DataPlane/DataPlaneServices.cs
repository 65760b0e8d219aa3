using Instances.Library;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;

namespace Instances.DataPlane;

internal static class DataPlaneServices
{
    /// <summary>Tells grains where this silo takes bytes.</summary>
    public static IServiceCollection AddDataPlane(this IServiceCollection services) => services.AddSingleton<IDataPlane, ServerDataPlane>();

    /// <summary>The address that this process's own web server listens at.</summary>
    private sealed class ServerDataPlane(IServer server) : IDataPlane
    {
        public Uri UploadAddress(ImageId image)
        {
            var addresses = server.Features.GetRequiredFeature<IServerAddressesFeature>().Addresses;
            return new Uri(new Uri(addresses.First()), $"{DataPlaneEndpoints.Path}/{image}");
        }
    }
}

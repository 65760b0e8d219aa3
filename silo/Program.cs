using Instances;
using Instances.ApiGateway;
using Instances.DataPlane;
using Instances.Datacenters;
using Instances.Health;
using Instances.Hosting;

return SiloCommand.Parse(args, arguments => StartErrors.Run(() =>
{
    var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = arguments.Rest, ContentRootPath = AppContext.BaseDirectory });
    builder.AddDataFolder(arguments);
    var (roles, datacenter) = builder.AddSilo();
    builder.Services.AddApiGateway().AddLocalDatacenter(datacenter);

    var app = builder.Build();
    if (roles is not SiloRoles.Control) app.MapDataPlane();
    // A silo with all roles is a complete datacenter with its interface. If the roles are spread, gateways run in their own processes.
    if (roles is SiloRoles.All) app.MapApiGateway();
    else app.MapHealth();
    return app;
}));

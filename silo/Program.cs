using Instances.ApiGateway;
using Instances.DataPlane;
using Instances.Datacenters;
using Instances.Hosting;

return SiloCommand.Parse(args, arguments => StartErrors.Run(() =>
{
    var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = arguments.Rest, ContentRootPath = AppContext.BaseDirectory });
    builder.AddDataFolder(arguments);
    builder.AddSilo();
    builder.Services.AddApiGateway().AddLocalDatacenter();

    var app = builder.Build();
    app.MapDataPlane();
    app.MapApiGateway();
    return app;
}));

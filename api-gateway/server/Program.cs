using Instances.ApiGateway;
using Instances.Datacenters;
using Instances.Hosting;

return StartErrors.Run(() =>
{
    var builder = WebApplication.CreateBuilder(args);
    builder.UseGatewayDefaults();
    builder.Services.AddSystemd();
    builder.Services.AddApiGateway().AddRemoteDatacenters(builder.Configuration);

    var app = builder.Build();
    app.MapApiGateway();
    return app;
});

using Instances.ApiGateway;
using Instances.Datacenters;

var builder = WebApplication.CreateBuilder(args);
builder.UseGatewayDefaults();
builder.Services.AddApiGateway().AddRemoteDatacenters(builder.Configuration);

var app = builder.Build();
app.MapApiGateway();
app.Run();

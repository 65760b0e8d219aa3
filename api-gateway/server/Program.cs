using Instances.ApiGateway;
using Instances.Datacenters;

var builder = WebApplication.CreateBuilder(args);
builder.ListenOnLoopbackByDefault();
builder.Services.AddApiGateway().AddRemoteDatacenters(builder.Configuration);

var app = builder.Build();
app.MapApiGateway();
app.Run();

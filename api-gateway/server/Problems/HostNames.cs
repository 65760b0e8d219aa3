using Microsoft.AspNetCore.HostFiltering;

namespace Instances.Problems;

/// <summary>Answers with a problem if the Host header is not a name of this server. The framework's own filter would answer with an empty body.</summary>
internal sealed class HostNames : IStartupFilter
{
    /// <summary>As the outermost of all filters.</summary>
    public static void Add(IServiceCollection services)
    {
        services.Insert(0, ServiceDescriptor.Transient<IStartupFilter, HostNames>());
        services.PostConfigure<HostFilteringOptions>(options => options.IncludeFailureMessage = false);
    }

    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use(async (context, inner) =>
        {
            await inner(context);
            if (context.Response is not { HasStarted: false, StatusCode: StatusCodes.Status400BadRequest }) return;
            await Problem.For(
                context, StatusCodes.Status400BadRequest, "host-unknown",
                "The header Host names no host that this server answers to. Use the name or address that it listens on, or add the name to AllowedHosts in its configuration.").Write(context);
        });
        next(app);
    };
}

using Instances.Hosts;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Instances.Qemu;

internal static class QemuServices
{
    /// <summary>QEMU as this host's hypervisor. Needs the host's layer store.</summary>
    public static IServiceCollection AddQemu(this IServiceCollection services)
    {
        services.AddOptions<QemuOptions>().BindConfiguration(QemuOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<QemuHypervisor>();
        services.AddSingleton<IHypervisor>(provider => provider.GetRequiredService<QemuHypervisor>());
        services.AddHostedService(provider => provider.GetRequiredService<QemuHypervisor>());
        return services;
    }
}

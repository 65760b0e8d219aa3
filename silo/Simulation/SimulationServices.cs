using Instances.Hosts;

namespace Instances.Simulation;

internal static class SimulationServices
{
    /// <summary>A hypervisor that runs no machines: layers, imports and images are real, machines are files that outlive the process.</summary>
    public static IServiceCollection AddSimulation(this IServiceCollection services)
    {
        services.AddOptions<SimulationOptions>().BindConfiguration(SimulationOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        services.AddSingleton<SimulatedFiles>();
        services.AddSingleton<SimulatedHost>();
        services.AddSingleton<IHypervisor, SimulatedHypervisor>();
        return services;
    }
}

using Instances.Datacenters;
using Instances.Doctor;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Sagas;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Hosting;

namespace Instances;

public static class GrainServices
{
    /// <summary>Registers what the grains need of their own. The silo brings the ports: hypervisor, layer store, catalogue and data plane.</summary>
    public static ISiloBuilder AddInstancesGrains(this ISiloBuilder silo)
    {
        silo.AddIncomingGrainCallFilter<FaultFilter>();
        silo.Services.TryAddSingleton(TimeProvider.System);
        silo.Services.TryAddSingleton<ISagaProbe, NoProbe>();
        silo.Services.AddSingleton<SagaEngine>();
        silo.Services.AddOptions<HostOptions>().BindConfiguration("Host").ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<SiloOptions>().PostConfigure<IOptions<HostOptions>>((options, host) => options.SiloName = host.Value.Name);
        silo.AddPlacementDirector<HostPlacement, HostPlacementDirector>();
        silo.Services.AddOptions<PlacementOptions>().BindConfiguration(PlacementOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<DoctorOptions>().BindConfiguration(DoctorOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<LibraryOptions>().BindConfiguration("Library").ValidateDataAnnotations().ValidateOnStart();
        silo.Services.Configure<ReminderOptions>(reminders => reminders.MinimumReminderPeriod = Appliances.ApplianceGrain.ReminderPeriod);
        return silo;
    }
}

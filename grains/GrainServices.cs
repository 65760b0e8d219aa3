using Instances.Datacenters;
using Instances.Doctor;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Sagas;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Hosting;

namespace Instances;

public static class GrainServices
{
    /// <summary>How long a grain call may take, unless its contract says otherwise.</summary>
    public static readonly TimeSpan ResponseTimeout = TimeSpan.FromSeconds(14);

    /// <summary>Registers the grains' own services. The silo registers the ports of its roles: the catalogue for Control, the hypervisor and the
    /// layer store for Host, the layer store and the data plane for Library.</summary>
    public static ISiloBuilder AddInstancesGrains(this ISiloBuilder silo, SiloRoles roles = SiloRoles.All)
    {
        silo.AddIncomingGrainCallFilter<FaultFilter>();
        silo.AddOutgoingGrainCallFilter<LostCallFilter>();
        silo.Services.TryAddSingleton(TimeProvider.System);
        silo.Services.TryAddSingleton<ISagaProbe, NoProbe>();
        silo.Services.AddSingleton<SagaEngine>();
        silo.Services.AddSingleton<Drain>();
        silo.Services.AddSingleton<RetentionWork>();
        silo.Services.AddOptions<HostOptions>().BindConfiguration("Host").ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<SiloOptions>().PostConfigure<IOptions<HostOptions>>((options, host) => options.SiloName = NameOf(host.Value.Name, roles));
        silo.Services.AddOptions<OperationOptions>().BindConfiguration("Operations").ValidateDataAnnotations().ValidateOnStart();
        silo.AddPlacementDirector<HostPlacement, HostPlacementDirector>();
        silo.Services.AddOptions<PlacementOptions>().BindConfiguration(PlacementOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<DoctorOptions>().BindConfiguration(DoctorOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<LibraryOptions>().BindConfiguration("Library").ValidateDataAnnotations().ValidateOnStart();
        silo.Services.AddOptions<RequestOptions>().BindConfiguration(RequestOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        if (roles.Has(SiloRoles.Control)) silo.Services.AddHostedService<RequestPruning>();
        silo.Services.Configure<ReminderOptions>(reminders => reminders.MinimumReminderPeriod = Appliances.ApplianceGrain.ReminderPeriod);
        silo.Services.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = ResponseTimeout);
        // Remove the grain classes of other roles: Orleans places a grain only in silos that have its class.
        silo.Services.Configure<GrainTypeOptions>(types => types.Classes.ExceptWith(SiloRoles.All.GrainClasses().Except(roles.GrainClasses())));
        return silo;
    }

    /// <summary>A host's silo has the host's name. Other silos have a name that no host can have.</summary>
    internal static string NameOf(string host, SiloRoles roles) =>
        roles.Has(SiloRoles.Host) ? host : $"{host}/{roles.ToString().Replace(", ", "-", StringComparison.Ordinal).ToLowerInvariant()}";
}

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
    /// <summary>How long a grain call may take, where its contract says nothing else.</summary>
    public static readonly TimeSpan ResponseTimeout = TimeSpan.FromSeconds(14);

    /// <summary>Registers what the grains need of their own. The silo brings the ports of its roles: for Control the catalogue, for Host the hypervisor and the
    /// layer store, for Library the layer store and the data plane.</summary>
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
        // A grain class that a silo does not have is never placed there.
        silo.Services.Configure<GrainTypeOptions>(types => types.Classes.ExceptWith(SiloRoles.All.GrainClasses().Except(roles.GrainClasses())));
        return silo;
    }

    /// <summary>The silo of a host has the host's name. That of any other silo is none that a host can have.</summary>
    internal static string NameOf(string host, SiloRoles roles) =>
        roles.Has(SiloRoles.Host) ? host : $"{host}/{roles.ToString().Replace(", ", "-", StringComparison.Ordinal).ToLowerInvariant()}";
}

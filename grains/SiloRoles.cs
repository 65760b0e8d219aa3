using Instances.Appliances;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances;

/// <summary>What a silo does in its datacenter, and so which grains it can have.</summary>
[Flags]
public enum SiloRoles
{
    None = 0,

    /// <summary>Appliances, virtual machines, images, enterprises, operations, the hosts' list and placement, and lists. Needs the database, but no disk.</summary>
    Control = 1,

    /// <summary>The machines of the host that it runs on.</summary>
    Host = 2,

    /// <summary>The library's folder: imports, layers and manifests.</summary>
    Library = 4,

    All = Control | Host | Library,
}

internal static class SiloRolesExtensions
{
    public static bool Has(this SiloRoles roles, SiloRoles role) => (roles & role) == role;

    /// <summary>The grain classes of this product that a silo with these roles has.</summary>
    public static IEnumerable<Type> GrainClasses(this SiloRoles roles) =>
        new (SiloRoles Role, Type[] Classes)[]
        {
            (SiloRoles.Control,
            [
                typeof(ApplianceGrain), typeof(VirtualMachineGrain), typeof(ImageGrain), typeof(OperationGrain), typeof(DatacenterGrain), typeof(CatalogueGrain), typeof(DoctorGrain),
                typeof(EnterpriseGrain), typeof(RequestGrain),
            ]),
            (SiloRoles.Host, [typeof(HostGrain)]),
            (SiloRoles.Library, [typeof(LibraryGrain), typeof(ScrubGrain), typeof(CompactionGrain)]),
        }.Where(entry => roles.Has(entry.Role)).SelectMany(entry => entry.Classes);
}

using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances.Catalogue;

/// <summary>Reads the projections of grain states. The database updates them in the statement that writes a state, so that they show every write that has returned.</summary>
public interface ICatalogue
{
    /// <param name="enterprise">Null for the appliances of all enterprises.</param>
    Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page);

    /// <summary>The enterprises that have a record.</summary>
    Task<Page<EnterpriseView>> Enterprises(PageRequest page);

    /// <summary>An enterprise's usage of images, library bytes and uploads: a sum over the rows of its images.</summary>
    /// <param name="except">Images, and appliances with the images that their captures create, that the caller counts itself.</param>
    Task<EnterpriseUsage> LibraryUsageOf(EnterpriseId enterprise, IReadOnlyCollection<Guid> except);

    /// <summary>An enterprise's usage of virtual machines, CPUs and memory: a sum over the rows of its appliances that are not Undeployed and of their machines.</summary>
    /// <param name="except">Appliances whose machines are about to be deployed, and are counted by the caller. Their deployed machines are included all the same.</param>
    Task<EnterpriseUsage> MachineUsageOf(EnterpriseId enterprise, IReadOnlyCollection<Guid> except);

    /// <summary>The appliances and the images of an enterprise, whatever their status, at most <paramref name="limit"/> of each.</summary>
    Task<EnterpriseBelongings> BelongingsOf(EnterpriseId enterprise, int limit);

    /// <summary>The machines of other enterprises that use an image, at most <paramref name="limit"/> of them.</summary>
    Task<IReadOnlyList<VirtualMachineId>> UsersOfOthers(ImageId image, EnterpriseId enterprise, int limit);

    Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page);

    Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page);

    /// <exception cref="FaultException">image-not-found.</exception>
    Task<ImageLineage> Lineage(ImageId image, PageRequest page);

    /// <summary>The machines that use an image.</summary>
    Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page);

    /// <summary>Newest first. Operations that have not ended are stored as Running.</summary>
    Task<Page<OperationView>> Operations(OperationFilter filter, PageRequest page);

    /// <summary>The machines that use an image, at most <paramref name="limit"/> of them.</summary>
    Task<IReadOnlyList<VirtualMachineId>> UsersOf(ImageId image, int limit);

    /// <summary>The machines that use a master or one of its slaves, at most <paramref name="limit"/> of them.</summary>
    Task<IReadOnlyList<VirtualMachineId>> UsersOfTree(ImageId master, int limit);

    /// <summary>The image, or null if it has no record.</summary>
    Task<ImageView?> FindImage(ImageId image);

    /// <summary>The Ready slaves that a retention rule applies to.</summary>
    /// <param name="master">Only the slaves of this master; null for all.</param>
    Task<IReadOnlyList<RuledInstance>> RuledInstances(ImageId? master);

    /// <summary>The machines that are deployed on a host.</summary>
    Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host);

    /// <summary>Every machine that is not Undeployed.</summary>
    Task<IReadOnlyList<VirtualMachineView>> DeployedMachines();

    /// <summary>Every appliance that is neither Deployed nor Undeployed.</summary>
    Task<IReadOnlyList<ApplianceView>> BusyAppliances();

    /// <summary>Every operation whose end is not recorded.</summary>
    Task<IReadOnlyList<OperationView>> OpenOperations();

    /// <summary>The slaves of a master that are not Retired, at most <paramref name="limit"/> of them.</summary>
    Task<IReadOnlyList<ImageId>> SlavesOf(ImageId master, int limit);

    /// <summary>The slaves that were captured from a machine and are Ready.</summary>
    Task<IReadOnlyList<ImageId>> CapturedFrom(VirtualMachineId machine);

    /// <summary>Images in a status, for background work.</summary>
    Task<IReadOnlyList<ImageId>> ImagesIn(ImageStatus status);

    /// <summary>The images that need a layer. Reads every image's row: only for rare events.</summary>
    Task<IReadOnlyList<ImageId>> ImagesOn(LayerId layer);

    /// <summary>Every layer that a machine, an image or a running operation refers to.</summary>
    Task<IReadOnlySet<LayerId>> ReferencedLayers();

    /// <summary>How many machines, images and running operations refer to each layer that anything refers to.</summary>
    Task<IReadOnlyDictionary<LayerId, int>> LayerUses();

    /// <summary>The Ready images that have at least a number of layers, on all their disks together. Reads every image's row: for background work.</summary>
    Task<IReadOnlyList<ImageView>> ImagesOfDepth(int layers);

    /// <summary>Which layers each image needs that is not Failed. Reads every image's row, without its view.</summary>
    Task<IReadOnlyList<ImageLayers>> ImageLayers();

    /// <summary>The oldest requests that were recorded before a moment.</summary>
    Task<IReadOnlyList<RequestId>> RequestsBefore(DateTimeOffset before, int limit);

    /// <summary>Every image that has a record.</summary>
    Task<IReadOnlySet<ImageId>> KnownImages();
}

public sealed record EnterpriseBelongings(IReadOnlyList<ApplianceId> Appliances, IReadOnlyList<ImageId> Images);

/// <param name="Layers">The layers of all its disks. For an image that is Importing: the layer that is being created.</param>
public sealed record ImageLayers(ImageId Id, string Name, ImageStatus Status, IReadOnlyList<LayerId> Layers, EnterpriseId Enterprise);

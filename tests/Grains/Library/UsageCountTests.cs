using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class UsageCountTests
{
    private static readonly LayerId Base = LayerId.New(), First = LayerId.New(), Second = LayerId.New(), Top = LayerId.New(), Orphan = LayerId.New(), Partial = LayerId.New();

    private static readonly IReadOnlyList<StoredLayer> Stored =
    [
        new(Base, 100, IsSealed: true), new(First, 10, IsSealed: true), new(Second, 20, IsSealed: true), new(Top, 3), new(Orphan, 7, IsSealed: true), new(Partial, 5, IsPartial: true),
    ];

    private static readonly EnterpriseId Other = EnterpriseId.New();

    private static readonly ImageLayers Master = new(ImageId.New(), "master", ImageStatus.Ready, [Base], default);
    private static readonly ImageLayers Slave = new(ImageId.New(), "slave", ImageStatus.Ready, [Base, First], default);
    private static readonly ImageLayers Retired = new(ImageId.New(), "retired", ImageStatus.Retired, [Base, First, Second], Other);
    private static readonly ImageLayers Importing = new(ImageId.New(), "importing", ImageStatus.Importing, [Partial], default);

    private static LibraryUsage Count(int limit = 100) => UsageCount.Of(
        Stored, [Master, Slave, Retired, Importing], new HashSet<LayerId> { Base, First, Second, Top, Partial }, limit, freeBytes: 9, new(Since: null, 0, 0), new(Since: null, 3, 2));

    [Fact]
    public void Of_EveryFile_CountsItOnce()
    {
        var usage = Count();

        Assert.Equal((6, 145L), (usage.Layers, usage.Bytes));
        Assert.Equal((130L, 3L, 5L, 7L), (usage.ImageBytes, usage.MachineBytes, usage.TransferBytes, usage.OrphanBytes));
        Assert.Equal(usage.Bytes, usage.ImageBytes + usage.MachineBytes + usage.TransferBytes + usage.OrphanBytes);
    }

    [Fact]
    public void Of_Images_TellsWhatGoesWithEachAndShowsTheLargestFirst()
    {
        var usage = Count();

        Assert.Equal(
            [(Retired.Id, 20L, 110L, 130L), (Importing.Id, 5L, 0L, 5L)], usage.ByImage.Take(2).Select(image => (image.Id, image.OwnBytes, image.SharedBytes, image.TotalBytes)));
        Assert.Equal((0L, 110L, 110L), usage.ByImage.Where(image => image.Id == Slave.Id).Select(image => (image.OwnBytes, image.SharedBytes, image.TotalBytes)).Single());
        Assert.Equal(Retired.Id, Assert.Single(Count(limit: 1).ByImage).Id);
    }

    [Fact]
    public void Of_Statuses_TellsWhatWouldGoWithAllOfOne()
    {
        Assert.Equal(
            [(ImageStatus.Importing, 1, 5L, 5L), (ImageStatus.Ready, 2, 0L, 110L), (ImageStatus.Retired, 1, 20L, 130L)],
            Count().ByStatus.Select(status => (status.Status, status.Images, status.OwnBytes, status.TotalBytes)));
    }

    [Fact]
    public void Of_Enterprises_TellsWhatEachHasForItself()
    {
        Assert.Equal(
            [(default, 3, 5L, 115L), (Other, 1, 20L, 130L)],
            Count().ByEnterprise.Select(space => (space.Enterprise, space.Images, space.OwnBytes, space.TotalBytes)));
        Assert.Equal((3, 2), (Count().Compacted.Layers, Count().Compacted.Bytes));
    }

    [Fact]
    public void Of_AChainWithALayerTwice_CountsItOnce()
    {
        var usage = UsageCount.Of(Stored, [Master with { Layers = [Base, Base] }], new HashSet<LayerId>(), 1, 0, new(Since: null, 0, 0), new(Since: null, 0, 0));

        Assert.Equal(100, Assert.Single(usage.ByImage).OwnBytes);
    }
}

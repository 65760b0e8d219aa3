using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class LibraryBindingTests
{
    private static readonly Guid Ours = Guid.NewGuid();

    private static readonly ImageId Image = ImageId.New();

    [Theory]
    [InlineData(7, 7)]
    [InlineData(6, 7)]
    public void FindStranger_OfAFolderThatIsNotAheadOfItsDatabase_FindsNone(long folder, long database) =>
        Assert.Null(Find(new(Ours, folder), new(Ours, database), [Image], known: []));

    [Fact]
    public void FindStranger_OfAFolderThatIsAheadOfItsDatabase_SaysThatItWasRestored() =>
        Assert.Contains("backup", Find(new(Ours, 8), new(Ours, 7), [], known: [Image])!, StringComparison.Ordinal);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void FindStranger_OfAnotherDatabasesFolder_FindsItWhereThereIsSomethingToLose(bool isBound)
    {
        var database = isBound ? new LibraryBinding(Ours, 9) : null;

        Assert.Contains("another database", Find(new(Guid.NewGuid(), 1), database, [Image], known: [Image])!, StringComparison.Ordinal);
        Assert.Contains("another database", Find(LibraryBinding.Unreadable, database, [Image], known: [Image])!, StringComparison.Ordinal);
        Assert.Null(Find(new(Guid.NewGuid(), 1), database, [], known: []));
    }

    [Fact]
    public void FindStranger_OfAFolderThatWasNeverBound_GoesByWhatTheDatabaseKnows()
    {
        Assert.Null(Find(null, null, [], known: []));
        Assert.Null(Find(null, null, [Image, ImageId.New()], known: [Image]));
        Assert.Contains("knows none", Find(null, null, [Image], known: [])!, StringComparison.Ordinal);
        Assert.Contains("knows none", Find(null, new(Ours, 1), [Image], known: [ImageId.New()])!, StringComparison.Ordinal);
    }

    private static string? Find(LibraryBinding? folder, LibraryBinding? database, ImageId[] manifests, ImageId[] known) =>
        LibraryBinding.FindStranger(folder, database, manifests, known.ToHashSet());
}

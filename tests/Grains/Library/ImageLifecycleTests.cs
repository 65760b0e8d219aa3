using CsCheck;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class ImageLifecycleTests
{
    private const string None = "None";

    private const string Table = """
                      BeginImport  | CompleteImport | FailImport | Publish | Use             | Export          | Delete          | Expire  | Change          | Restore         | FindCorrupt | FindSound
          None      | Importing    | ignore         | ignore     | Ready   | image-not-found | image-not-found | image-not-found | ignore  | image-not-found | image-not-found | ignore      | ignore
          Importing | Importing    | Ready          | Failed     | defect  | image-not-ready | image-not-ready | image-importing | ignore  | image-importing | image-importing | ignore      | ignore
          Ready     | image-exists | ignore         | ignore     | ignore  | Ready           | Ready           | Retired         | ignore  | Ready           | ignore          | Corrupt     | ignore
          Retired   | image-exists | ignore         | ignore     | ignore  | image-not-ready | image-not-ready | ignore          | Retired | image-retired   | Ready           | Retired     | Retired
          Failed    | image-exists | ignore         | ignore     | ignore  | image-not-ready | image-not-ready | Retired         | ignore  | image-failed    | image-failed    | ignore      | ignore
          Corrupt   | image-exists | ignore         | ignore     | ignore  | image-corrupt   | image-corrupt   | Retired         | ignore  | Corrupt         | ignore          | Corrupt     | Ready
        """;

    public static TheoryData<string, string, string> Pairs => LifecycleTable.Parse<ImageStatus, ImageCommand>([Table], None);

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Decide_EachPair_IsAsTheTableSays(string status, string command, string expected)
    {
        var decision = ImageLifecycle.Decide(status == None ? null : Enum.Parse<ImageStatus>(status), Enum.Parse<ImageCommand>(command));

        Assert.Equal(expected, LifecycleTable.Cell(decision));
        if (status != None && expected != "image-exists") LifecycleTable.AssertNamesStatus(status, decision);
    }

    [Fact]
    public void Decide_AnyCommandsButRestore_NeverBringBackWhatWasRetiredOrHasFailed() =>
        Gen.Select(Gen.OneOf(ImageStatus.Retired, ImageStatus.Failed), Gen.Enum<ImageCommand>().Where(command => command is not ImageCommand.Restore).Array[0, 20])
            .Sample((status, commands) => commands.Aggregate(status, Next) is ImageStatus.Retired or ImageStatus.Failed);

    [Fact]
    public void Decide_AnImport_CanAlwaysEnd() =>
        Gen.OneOf(ImageCommand.CompleteImport, ImageCommand.FailImport).Sample(end => Next(ImageStatus.Importing, end) is ImageStatus.Ready or ImageStatus.Failed);

    private static ImageStatus Next(ImageStatus status, ImageCommand command) =>
        ImageLifecycle.Decide(status, command) is Decision<ImageStatus>.Accept accept ? accept.Next : status;
}

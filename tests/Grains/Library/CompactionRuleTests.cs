using System.Globalization;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>A chain is written from its base up: <c>B</c> the base, <c>s</c> a layer that others use too, <c>o</c> one that only this chain uses; each of one byte but the base, which is large.</summary>
public sealed class CompactionRuleTests
{
    private const long BaseBytes = 1000;

    [Theory]
    [InlineData("B", 8, null)]
    [InlineData("Bo", 8, null)]
    [InlineData("Booo", 8, null)] // Cheap to read as it is.
    [InlineData("Boooo", 8, 1)]
    [InlineData("Bssssss", 8, null)]
    [InlineData("Bsssooo", 8, null)]
    [InlineData("Bsssoooo", 8, 4)]
    [InlineData("Booosoo", 8, null)] // What lies under a shared layer cannot be merged without it.
    [InlineData("Bsssssss", 8, null)] // As deep as the bound.
    [InlineData("Bssssssss", 8, 1)] // Deeper: each is as small as what would be copied over it.
    [InlineData("Bsssssssssssssss", 8, 1)]
    [InlineData("Boooooooooo", 8, 1)] // What costs no second copy goes first.
    [InlineData("Bsoooooooo", 8, 2)]
    [InlineData("Bsssssssssoooo", 8, 1)] // That is not enough here.
    [InlineData("Bss", 2, 1)]
    [InlineData("Bsss", 3, 1)]
    [InlineData("ooooo", 8, 1)] // A data disk's own base stays too.
    public void Find_OfAChain_SaysWhichLayersBecomeOne(string chain, int maxDepth, int? expected)
    {
        var layers = Chain(chain.Length);

        Assert.Equal(expected, CompactionRule.Find(layers, maxDepth, layer => chain[layers.FindIndex(known => known.Id == layer)] == 'o', others: [])?.From);
    }

    [Theory]
    [InlineData("9 4", 1)] // Each is smaller than all that lies over it.
    [InlineData("9 6", 3)]
    [InlineData("10 4", 2)]
    [InlineData("9 7 3 3", 1)]
    [InlineData("19 7 3 3", 2)]
    public void Find_OfLayersOfSeveralSizes_CopiesNothingThatIsAsLargeAsWhatCameOverIt(string lower, int expected)
    {
        List<LayerManifest> chain = [Layer(BaseBytes), .. lower.Split(' ').Select(bytes => Layer(long.Parse(bytes, CultureInfo.InvariantCulture))), .. Chain(7).Skip(1)];

        Assert.Equal(expected, CompactionRule.Find(chain, 8, _ => false, others: [])?.From);
    }

    [Fact]
    public void Find_OfAChainOfWhichAnotherImageHasTheLowerPart_LiesOverThat()
    {
        var chain = Chain(10);
        LayerManifest[] other = [chain[0], Layer(bytes: 7, chain[7].Id), Layer(bytes: 1, chain[8].Id)];

        var plan = CompactionRule.Find(chain, 8, _ => false, [[Layer(5)], other])!.Value;

        Assert.Equal((9, 3), (plan.From, plan.Instead!.Count));
        Assert.Equal(other, plan.Instead);
    }

    /// <summary>A chain is not rebased onto another chain with the same content that is not shorter.</summary>
    [Fact]
    public void Find_OfAChainThatOthersHaveAsItIs_LeavesTheirs()
    {
        var chain = Chain(9);

        Assert.Null(CompactionRule.Find(chain, 8, _ => false, [chain, [.. chain.Take(5)]])!.Value.Instead);
    }

    /// <summary>Repeated captures of one running machine: all its images are within the bound, and the copied bytes do not grow with the square of the number of captures.</summary>
    [Theory]
    [InlineData(8, 1, 10)]
    [InlineData(8, 16, 10)]
    [InlineData(5, 4, 40)]
    [InlineData(16, 1, 6)]
    public void Find_OfAThousandCapturesOfAMachine_CopiesEachByteAFewTimes(int maxDepth, int before, int times)
    {
        const int Captures = 1000;
        var random = new Random(7);
        var (copied, captured, machine) = (0L, 0L, new List<LayerManifest> { Layer(1 << 30) });
        var images = new List<IReadOnlyList<LayerManifest>>();
        for (var capture = 0; capture < Captures; capture++)
        {
            machine.Add(Layer(random.Next(1, 100)));
            captured += machine[^1].Bytes;
            IReadOnlyList<LayerManifest> chain = machine;
            if (CompactionRule.Find(chain, maxDepth, _ => false, [.. images.TakeLast(before)]) is { } plan)
            {
                var bytes = chain.Skip(plan.From).Sum(layer => layer.Bytes);
                copied += bytes;
                chain = [.. plan.Instead ?? chain.Take(plan.From), Layer(bytes, chain[^1].Id)];
            }

            Assert.InRange(chain.Count, 1, maxDepth);
            Assert.Equal(machine[^1].Id, chain[^1].Content);
            images.Add([.. chain]);
        }

        Assert.InRange(copied, captured / 2, captured * times);
    }

    [Fact]
    public void Find_OfAnyChain_LeavesNoneThatIsToBeMergedAgainAndNoneTooDeep()
    {
        var random = new Random(11);
        for (var round = 0; round < 2000; round++)
        {
            var maxDepth = random.Next(2, 65);
            List<LayerManifest> chain = [.. Enumerable.Range(0, random.Next(1, 100)).Select(_ => Layer(random.Next(1, 1000)))];
            var own = chain.Select(layer => layer.Id).Where(_ => random.Next(3) > 0).ToHashSet();

            if (CompactionRule.Find(chain, maxDepth, own.Contains, others: []) is { } plan)
            {
                Assert.InRange(plan.From, 1, chain.Count - 2);
                chain.RemoveRange(plan.From, chain.Count - plan.From);
                chain.Add(Layer(bytes: 1));
                own.Add(chain[^1].Id);
            }

            Assert.InRange(chain.Count, 1, maxDepth);
            Assert.Null(CompactionRule.Find(chain, maxDepth, own.Contains, others: []));
        }
    }

    [Fact]
    public void Find_OfAChainBelowMinDepth_IsNothing()
    {
        for (var maxDepth = 2; maxDepth <= 64; maxDepth++)
            Assert.Null(CompactionRule.Find(Chain(CompactionRule.MinDepth(maxDepth) - 1), maxDepth, _ => true, others: []));
    }

    private static List<LayerManifest> Chain(int depth) => [.. Enumerable.Range(0, depth).Select(index => Layer(index == 0 ? BaseBytes : 1))];

    private static LayerManifest Layer(long bytes, LayerId? standsFor = null) => new(LayerId.New(), Parent: null, bytes, ImageId.New(), StandsFor: standsFor);
}

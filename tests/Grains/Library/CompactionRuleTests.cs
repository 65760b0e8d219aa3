using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>A chain is written from its base up: <c>B</c> the base, <c>s</c> a layer that others use too, <c>o</c> one that only this chain uses.</summary>
public sealed class CompactionRuleTests
{
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
    [InlineData("Bssssssss", 8, 3)] // Deeper: half the bound.
    [InlineData("Bsssssssssssssss", 8, 3)]
    [InlineData("Boooooooooo", 8, 1)] // What costs no second copy goes too.
    [InlineData("Bsoooooooo", 8, 2)]
    [InlineData("Bssssssssoo", 8, 3)]
    [InlineData("Bss", 2, 1)]
    [InlineData("Bsss", 3, 1)]
    [InlineData("ooooo", 8, 1)] // A data disk's own base stays too.
    public void FirstToMerge(string chain, int maxDepth, int? expected)
    {
        LayerId[] layers = [.. chain.Select(_ => LayerId.New())];

        Assert.Equal(expected, CompactionRule.FirstToMerge(layers, maxDepth, layer => chain[Array.IndexOf(layers, layer)] == 'o'));
    }

    [Fact]
    public void FirstToMerge_OfAnyChain_LeavesNoneThatIsToBeMergedAgainAndNoneTooDeep()
    {
        var random = new Random(11);
        for (var round = 0; round < 2000; round++)
        {
            var maxDepth = random.Next(2, 65);
            List<LayerId> chain = [.. Enumerable.Range(0, random.Next(1, 100)).Select(_ => LayerId.New())];
            var own = chain.Where(_ => random.Next(3) > 0).ToHashSet();

            if (CompactionRule.FirstToMerge(chain, maxDepth, own.Contains) is { } from)
            {
                Assert.InRange(from, 1, chain.Count - 2);
                chain.RemoveRange(from, chain.Count - from);
                chain.Add(LayerId.New());
                own.Add(chain[^1]);
            }

            Assert.InRange(chain.Count, 1, maxDepth);
            Assert.Null(CompactionRule.FirstToMerge(chain, maxDepth, own.Contains));
        }
    }

    [Fact]
    public void FirstToMerge_OfAChainBelowMinDepth_IsNothing()
    {
        for (var maxDepth = 2; maxDepth <= 64; maxDepth++)
            Assert.Null(CompactionRule.FirstToMerge([.. Enumerable.Range(1, CompactionRule.MinDepth(maxDepth) - 1).Select(_ => LayerId.New())], maxDepth, _ => true));
    }
}

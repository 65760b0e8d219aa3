using Instances.Enterprises;
using Xunit;

namespace Instances.Library.Import;

public sealed class ImportLineTests
{
    private readonly ImportLine<string> _line = new();
    private readonly EnterpriseId _one = EnterpriseId.New();
    private readonly EnterpriseId _other = EnterpriseId.New();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Enterprises_TakeTurns()
    {
        foreach (var item in new[] { "a1", "a2", "a3" }) _line.Add(_one, isSmall: false, item);
        foreach (var item in new[] { "b1", "b2" }) _line.Add(_other, isSmall: false, item);

        List<string> taken = [];
        for (var count = 0; count < 5; count++) taken.Add(await _line.Take(onlySmall: false, Token));

        Assert.Equal(["a1", "b1", "a2", "b2", "a3"], taken);
    }

    [Fact]
    public async Task Small_OvertakesLargeOnesOfItsOwnEnterprise()
    {
        _line.Add(_one, isSmall: false, "bomb");
        var next = _line.Take(onlySmall: true, Token);
        Assert.False(next.IsCompleted);

        _line.Add(_one, isSmall: true, "small");

        Assert.Equal("small", await next.WaitAsync(Testing.Bounds.Wait, Token));
        Assert.Equal("bomb", await _line.Take(onlySmall: false, Token));
    }

    /// <summary>The converter for small ones takes each at once. The large one is the next for the others all the same.</summary>
    [Fact]
    public async Task Large_OfAnEnterpriseThatSendsSmallOnesAllTheTime_HasItsTurn()
    {
        foreach (var item in new[] { "b1", "b2", "b3" }) _line.Add(_other, isSmall: false, item);
        _line.Add(_one, isSmall: false, "large");
        List<string> taken = [];
        for (var round = 0; round < 3; round++)
        {
            _line.Add(_one, isSmall: true, "small");
            Assert.Equal("small", await _line.Take(onlySmall: true, Token));
            taken.Add(await _line.Take(onlySmall: false, Token));
        }

        Assert.Equal(["b1", "large", "b2"], taken);
    }

    [Fact]
    public async Task Enterprises_TakeTurnsWithSmallOnes()
    {
        foreach (var item in new[] { "a1", "a2" }) _line.Add(_one, isSmall: true, item);
        _line.Add(_other, isSmall: true, "b1");

        List<string> taken = [];
        for (var count = 0; count < 3; count++) taken.Add(await _line.Take(onlySmall: true, Token));

        Assert.Equal(["a1", "b1", "a2"], taken);
    }
}

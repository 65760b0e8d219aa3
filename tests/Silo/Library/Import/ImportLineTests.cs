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
}

using Xunit;

namespace Instances;

public sealed class ForeignTextTests
{
    [Theory]
    [InlineData("disk failed", "disk failed")]
    [InlineData("a\0b\r\nc\u0085d", "a b c d")]
    [InlineData("\0", "")]
    [InlineData("twelve chars and more", "twelve chars")]
    [InlineData("elevenchars\U0001F600", "elevenchars")]
    public void Clean_IsOneBoundedLineThatEveryDatabaseTakes(string text, string clean) => Assert.Equal(clean, ForeignText.Clean(text, maxCharacters: 12));

    // Not inline, because strings in attributes are stored as UTF-8.
    [Fact]
    public void Clean_HalfOfASurrogatePair_IsReplaced() => Assert.Equal("half \uFFFD", ForeignText.Clean("half \uD83D", maxCharacters: 12));
}

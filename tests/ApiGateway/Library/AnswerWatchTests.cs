using System.Text;
using Xunit;

namespace Instances.Library;

public sealed class AnswerWatchTests
{
    private const string Interim = "HTTP/1.1 100 Continue\r\nX: \r\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";

    /// <summary>The bytes come in pieces of any length.</summary>
    [Theory]
    [InlineData(Interim + "HTTP/1.1 2", true)]
    [InlineData(Interim + "HTTP/1.1 ", false)]
    [InlineData(Interim, false)]
    [InlineData("HTTP/1.1 422 Unprocessable", true)]
    [InlineData("", false)]
    public async Task Answer_IsSeenWithItsFirstBytesAndNotBefore(string bytes, bool isAnswered)
    {
        for (var piece = 1; piece <= bytes.Length + 1; piece++)
        {
            var answers = 0;
            using var watch = new AnswerWatch(new MemoryStream(Encoding.ASCII.GetBytes(bytes)), () => answers++);
            while (await watch.ReadAsync(new byte[piece], TestContext.Current.CancellationToken) > 0)
            {
            }

            Assert.Equal(isAnswered ? 1 : 0, answers);
        }
    }
}

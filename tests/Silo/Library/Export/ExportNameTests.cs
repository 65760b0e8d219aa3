using System.Text;
using CsCheck;
using Xunit;

namespace Instances.Library.Export;

public sealed class ExportNameTests
{
    private static readonly ImageId Image = ImageId.Parse("00000000-0000-8000-8000-000000000001");

    [Theory]
    [InlineData("Debian 12", "Debian 12")]
    [InlineData("../../etc/passwd", "_.._etc_passwd")]
    [InlineData("a\\b:c*d?e\"f<g>h|i%j", "a_b_c_d_e_f_g_h_i_j")]
    [InlineData("käse 日本", "käse 日本")]
    [InlineData("evil\u202Efdp.exe", "evil_fdp.exe")]
    [InlineData(".hidden. ", "hidden")]
    [InlineData("...", "00000000-0000-8000-8000-000000000001")]
    public void Of_Name_IsThatOfAFile(string name, string expected) => Assert.Equal(expected, ExportName.Of(name, Image));

    [Fact]
    public void Of_AnyName_IsShortAndNoPath() => Gen.String[0, 300].Sample(name =>
    {
        var file = ExportName.Of(name, Image);
        return file.Length > 0 && Encoding.UTF8.GetByteCount(file) <= 200 && Path.GetFileName(file) == file && !file.Any(char.IsControl) && file is not ("." or "..");
    });
}

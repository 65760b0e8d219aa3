using Instances.Faults;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class ImageRulesTests
{
    private const long MiB = 1L << 20;

    public static TheoryData<ImageDetails, string> Refused => new()
    {
        { new(Description: new('x', 4097)), "description-invalid" },
        { new(MinCpus: 0), "image-invalid" },
        { new(DefaultCpus: 65), "image-invalid" },
        { new(MinCpus: 3, DefaultCpus: 2), "image-invalid" },
        { new(MinMemoryBytes: 31 * MiB), "image-invalid" },
        { new(MinMemoryBytes: (32 * MiB) + 1), "image-invalid" },
        { new(DefaultMemoryBytes: (1L << 40) + MiB), "image-invalid" },
        { new(MinMemoryBytes: 65 * MiB, DefaultMemoryBytes: 64 * MiB), "image-invalid" },
        { new(Category: ""), "image-invalid" },
        { new(Category: new('x', 65)), "image-invalid" },
        { new(OperatingSystem: "a\nb"), "image-invalid" },
        { new(Icon: "Debian"), "image-invalid" },
        { new(Icon: "data:image/png"), "image-invalid" },
        { new(Labels: Labels(33)), "image-invalid" },
        { new(Labels: Label("", "x")), "image-invalid" },
        { new(Labels: Label("Env", "x")), "image-invalid" },
        { new(Labels: Label("-env", "x")), "image-invalid" },
        { new(Labels: Label("a\"b", "x")), "image-invalid" },
        { new(Labels: Label(new('a', 64), "x")), "image-invalid" },
        { new(Labels: Label("env", "\u202Etest")), "image-invalid" },
        { new(Labels: Label("env", new('x', 256))), "image-invalid" },
    };

    [Theory, MemberData(nameof(Refused))]
    public void Require_DetailsOutOfBounds_AreRefused(ImageDetails details, string code) =>
        Assert.Equal((FaultKind.Invalid, code), Fault(() => ImageRules.Require(details)));

    [Fact]
    public void Require_DetailsAtTheirBounds_AreTaken()
    {
        var details = new ImageDetails(
            new('x', 4096), 1, 64, 32 * MiB, 1L << 40, new('x', 64), new('a', 64), "Debian 12",
            Labels(30).Append(new("a", "")).Append(new(new('z', 63), new('x', 255))).ToDictionary());

        Assert.Equal(details, ImageRules.Require(details));
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData(0, null)]
    [InlineData(1001, null)]
    [InlineData(null, 0)]
    [InlineData(null, 87601)]
    [InlineData(0, 1)]
    public void Require_RetentionOutOfBounds_IsRefused(int? last, int? hours) =>
        Assert.Equal((FaultKind.Invalid, "retention-invalid"), Fault(() => ImageRules.Require(new RetentionRule(last, hours))));

    [Fact]
    public void Require_RetentionOfASlave_IsRefused() =>
        Assert.Equal((FaultKind.Invalid, "retention-invalid"), Fault(() => ImageRules.Require(new ImageSpec("a", Retention: new(1)), ImageKind.Slave)));

    [Fact]
    public void Details_WithLabelsThatSayTheSame_AreEqual()
    {
        Assert.Equal(new ImageDetails(Labels: Labels(3)), new ImageDetails(Labels: Labels(3).Reverse().ToDictionary()));
        Assert.Equal(ImageDetails.None, new ImageDetails(Labels: Labels(0)));
        Assert.NotEqual(new ImageDetails(Labels: Label("a", "1")), new ImageDetails(Labels: Label("a", "2")));
        Assert.NotEqual(new ImageDetails(Labels: Label("a", "1")), new ImageDetails(Labels: Label("b", "1")));
        Assert.NotEqual(new ImageDetails(Icon: "a"), ImageDetails.None);
    }

    private static (FaultKind, string) Fault(Action require)
    {
        var fault = Assert.Throws<FaultException>(require).Fault;
        return (fault.Kind, fault.Code);
    }

    private static Dictionary<string, string> Label(string key, string value) => new() { [key] = value };

    private static Dictionary<string, string> Labels(int count) => Enumerable.Range(0, count).ToDictionary(number => $"k{number}", number => $"v{number}");
}

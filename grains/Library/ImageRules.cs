using System.Text.RegularExpressions;
using Instances.Enterprises;
using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Library;

/// <summary>The bounds that <see cref="ImageDetails"/> and <see cref="RetentionRule"/> state.</summary>
internal static partial class ImageRules
{
    public const int MaxLabels = 32;
    public const int MaxLabelLength = 255;
    public const int MaxWordLength = 64;
    public const int MaxKeepLast = 1000;
    public const int MaxKeepForHours = 87_600;

    /// <exception cref="FaultException">description-invalid; image-invalid.</exception>
    public static ImageDetails Require(ImageDetails? details)
    {
        if (details is null) return ImageDetails.None;
        Names.RequireDescription(details.Description);
        RequireCpus("minCpus", details.MinCpus);
        RequireCpus("defaultCpus", details.DefaultCpus);
        RequireMemory("minMemoryBytes", details.MinMemoryBytes);
        RequireMemory("defaultMemoryBytes", details.DefaultMemoryBytes);
        if (details.DefaultCpus < details.MinCpus) throw Refused($"defaultCpus is {details.DefaultCpus} and minCpus {details.MinCpus}: a default is not below its minimum.");
        if (details.DefaultMemoryBytes < details.MinMemoryBytes)
            throw Refused($"defaultMemoryBytes is {details.DefaultMemoryBytes} and minMemoryBytes {details.MinMemoryBytes}: a default is not below its minimum.");
        RequireWord("category", details.Category);
        RequireWord("operatingSystem", details.OperatingSystem);
        if (details.Icon is { } icon && !IconPattern().IsMatch(icon)) throw Refused($"icon is not the name of an icon: 1 to {MaxWordLength} of a-z, 0-9 and hyphens.");
        RequireLabels(details.Labels ?? new Dictionary<string, string>());
        return details;
    }

    /// <exception cref="FaultException">retention-invalid.</exception>
    public static RetentionRule? Require(RetentionRule? rule) => rule switch
    {
        null => null,
        { KeepLast: null, KeepForHours: null } => throw RetentionRefused("it keeps nothing: give keepLast, keepForHours or both, or leave the rule out to keep everything."),
        { KeepLast: < 1 or > MaxKeepLast } => throw RetentionRefused($"keepLast is {rule.KeepLast}: 1 to {MaxKeepLast} are allowed."),
        { KeepForHours: < 1 or > MaxKeepForHours } => throw RetentionRefused($"keepForHours is {rule.KeepForHours}: 1 to {MaxKeepForHours} are allowed."),
        _ => rule,
    };

    /// <exception cref="FaultException">name-invalid; description-invalid; image-invalid; retention-invalid.</exception>
    public static ImageSpec Require(ImageSpec spec, ImageKind kind)
    {
        if (spec.Retention is not null && kind is ImageKind.Slave) throw RetentionRefused("a slave has none: give the rule to its master, or to the appliance.");
        return new(Names.Require(spec.Name, "an image"), Require(spec.Details), spec.Pinned, Require(spec.Retention), spec.Sharing);
    }

    /// <summary>An image that another enterprise owns and does not share is not found.</summary>
    /// <exception cref="FaultException">image-not-found; image-not-ready; image-corrupt.</exception>
    public static void RequireUsable(ImageView image, EnterpriseId enterprise)
    {
        ImageStatus? seen = image.Enterprise == enterprise || image.Sharing is ImageSharing.AllEnterprises ? image.Status : null;
        ImageLifecycle.Decide(seen, ImageCommand.Use).OrThrow();
    }

    public static bool IsLabelKey(string key) => LabelPattern().IsMatch(key);

    private static void RequireCpus(string what, int? cpus)
    {
        if (cpus is < 1 or > VirtualMachineSpecRules.MaxCpus) throw Refused($"{what} is {cpus}: 1 to {VirtualMachineSpecRules.MaxCpus} are allowed.");
    }

    private static void RequireMemory(string what, long? bytes)
    {
        if (bytes is < VirtualMachineSpecRules.MinMemoryBytes or > VirtualMachineSpecRules.MaxMemoryBytes || bytes % (1L << 20) is not (null or 0))
            throw Refused($"{what} is {bytes}: 32 MiB to 1 TiB in whole MiB are allowed.");
    }

    private static void RequireWord(string what, string? word)
    {
        if (word is not null && (word.Length > MaxWordLength || !Names.IsPrintable(word) || string.IsNullOrWhiteSpace(word)))
            throw Refused($"{what} has to be 1 to {MaxWordLength} printable characters.");
    }

    private static void RequireLabels(IReadOnlyDictionary<string, string> labels)
    {
        if (labels.Count > MaxLabels) throw Refused($"there are {labels.Count} labels: {MaxLabels} are allowed.");
        foreach (var (key, value) in labels)
        {
            if (!IsLabelKey(key)) throw Refused($"the label '{key}' is not 1 to 63 of a-z, 0-9, dots, slashes, underscores and hyphens, with a letter or a digit at both ends.");
            if (value is null || value.Length > MaxLabelLength || !Names.IsPrintable(value))
                throw Refused($"the value of the label '{key}' is not at most {MaxLabelLength} printable characters.");
        }
    }

    private static FaultException Refused(string message) => FaultException.Invalid("image-invalid", $"The image is refused: {message}");

    private static FaultException RetentionRefused(string message) => FaultException.Invalid("retention-invalid", $"The retention rule is refused: {message}");

    [GeneratedRegex(@"\A[a-z0-9-]{1,64}\z")]
    private static partial Regex IconPattern();

    [GeneratedRegex(@"\A[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?\z")]
    private static partial Regex LabelPattern();
}

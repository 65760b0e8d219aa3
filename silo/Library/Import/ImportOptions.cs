using System.ComponentModel.DataAnnotations;

namespace Instances.Library.Import;

/// <summary>Configuration section <c>Import</c>.</summary>
public sealed class ImportOptions : IValidatableObject
{
    /// <summary>The largest disk in an image, in bytes.</summary>
    [Range(512, long.MaxValue)]
    public long MaxVirtualBytes { get; set; } = 2L << 40;

    /// <summary>The user that checks and converts uploads if this process is root. It must not be one that QEMU runs as.</summary>
    [Required]
    public string User { get; set; } = "nobody";

    /// <summary>Folders of the library's machine whose files may be imported by their paths. Empty for none. Absolute paths, not the root.</summary>
    public IList<string> AllowedFolders { get; init; } = [];

    /// <summary>How many times its length a compressed upload may expand to, not counting zeros. Real disks reach 20; a malicious file reaches 1,000.</summary>
    [Range(2, 1_000_000)]
    public int MaxExpansion { get; set; } = 100;

    /// <summary>How many uploads are checked and converted at a time. One more converter is for small ones.</summary>
    [Range(1, 64)]
    public int Converters { get; set; } = 2;

    /// <summary>How often progress is reported and cancellation is checked.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:01:00")]
    public TimeSpan ReportPeriod { get; set; } = TimeSpan.FromSeconds(1);

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext) => AllowedFolders
        .Where(folder => !Path.IsPathFullyQualified(folder) || Path.GetFullPath(folder) == "/")
        .Select(folder => new ValidationResult($"Import:AllowedFolders must have absolute paths other than the root; '{folder}' is not one.", [nameof(AllowedFolders)]));
}

using System.Text;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Requests;

namespace Instances.Library;

/// <summary>The header Upload-Metadata of tus. Unknown keys are ignored, because clients of tus send their own.</summary>
internal sealed class UploadMetadata
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    private UploadMetadata()
    {
    }

    /// <exception cref="FaultException">upload-metadata-invalid.</exception>
    public static UploadMetadata Parse(string? header)
    {
        var metadata = new UploadMetadata();
        foreach (var pair in (header ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = pair.Split(' ', 2);
            if (!metadata._values.TryAdd(parts[0], parts.Length == 1 ? "" : Decoded(parts[1]))) throw Invalid($"it names {parts[0]} twice");
        }

        return metadata;
    }

    /// <param name="length">The header Upload-Length.</param>
    /// <exception cref="FaultException">upload-metadata-invalid; sha256-invalid.</exception>
    public ImportCommand ToCommand(long? length) => new(
        _values.GetValueOrDefault("name") ?? _values.GetValueOrDefault("filename") ?? throw Invalid("it has no name"),
        Format(),
        length,
        ImageEndpoints.Checked(_values.GetValueOrDefault("sha256")),
        Enterprise: Enterprise(),
        AcceptSignature: AcceptSignature());

    /// <returns>Null to detect it from the content.</returns>
    private ImageFormat? Format() => _values.GetValueOrDefault("format") is not { } text ? null
        : Choice<ImageFormat>.TryParse(text, null, out var format) ? format.Value
        : throw Invalid($"format is not one of {string.Join(", ", Enum.GetNames<ImageFormat>()).ToLowerInvariant()}");

    /// <summary>Clients of tus send a flag as a key without a value.</summary>
    private bool AcceptSignature() => _values.GetValueOrDefault("acceptSignature") switch
    {
        null or "false" => false,
        "" or "true" => true,
        _ => throw Invalid("acceptSignature is neither true nor false"),
    };

    private EnterpriseId Enterprise() => _values.GetValueOrDefault("enterprise") is not { } text ? EnterpriseId.Default
        : EnterpriseId.TryParse(text, null, out var enterprise) ? enterprise
        : throw Invalid("enterprise is not the id of one");

    private static string Decoded(string text)
    {
        try
        {
            return Strict.GetString(Convert.FromBase64String(text));
        }
        catch (Exception exception) when (exception is FormatException or DecoderFallbackException)
        {
            throw Invalid("a value is not base64 of UTF-8");
        }
    }

    private static FaultException Invalid(string what) => FaultException.Invalid(
        "upload-metadata-invalid", $"The header Upload-Metadata is not as expected: {what}. It has name, and optionally format, acceptSignature, sha256 and enterprise, each with its value in base64, separated by commas.");
}

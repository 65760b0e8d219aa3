using System.ComponentModel;
using Instances.Enterprises;

namespace Instances.Library;

/// <param name="Sha256">Of the file, in hex.</param>
internal sealed record ImportFromPathRequest(
    [property: Description("1 to 128 characters.")] string Name,
    [property: Description("An absolute path on the library's machine.")] string Path,
    [property: Description("The format of the file. Without it, it is detected from the content; a raw disk must be declared.")] ImageFormat? Format = null,
    [property: Description("The SHA-256 of the file in hex.")] string? Sha256 = null,
    [property: Description("The enterprise that owns the image, permanently. Default: the default enterprise.")] EnterpriseId? Enterprise = null,
    [property: Description("Accepts a file that is declared as raw even if it looks like another format or an archive.")] bool AcceptSignature = false);

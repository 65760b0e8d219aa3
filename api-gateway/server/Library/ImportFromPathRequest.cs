using System.ComponentModel;
using Instances.Enterprises;

namespace Instances.Library;

/// <param name="Sha256">Of the file, in hex.</param>
internal sealed record ImportFromPathRequest(
    [property: Description("1 to 128 characters.")] string Name,
    [property: Description("An absolute path on the library's machine.")] string Path,
    [property: Description("What the file is. Without it its content tells; a raw disk has to be declared.")] ImageFormat? Format = null,
    [property: Description("The SHA-256 of the file in hex.")] string? Sha256 = null,
    [property: Description("Whose the image is and stays; the default one where it is left out.")] EnterpriseId? Enterprise = null,
    [property: Description("Takes what is declared as raw even if it looks like another format or an archive.")] bool AcceptSignature = false);

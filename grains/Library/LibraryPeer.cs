using System.ComponentModel.DataAnnotations;
using System.Text.RegularExpressions;

namespace Instances.Library;

/// <summary>Configuration of another datacenter whose library may have a good copy of a layer that is corrupt here.</summary>
public sealed class LibraryPeer
{
    /// <summary>The datacenter at its gateway, such as <c>https://gateway.example/api/v1/datacenters/west</c>.</summary>
    public string Url { get; set; } = "";
}

/// <summary>Requires that every peer has the URL of a datacenter. Reports all errors at once.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed partial class PeerUrlsAttribute : ValidationAttribute
{
    protected override ValidationResult? IsValid(object? value, ValidationContext validationContext)
    {
        var errors = ((IEnumerable<LibraryPeer>)value!).Index().Where(peer => !IsDatacenter(peer.Item.Url)).Select(peer =>
            $"Library:Peers:{peer.Index}:Url must be the http or https URL of a datacenter at its gateway, such as https://gateway.example/api/v1/datacenters/west, without a password or a query; it is {Shown(peer.Item.Url)}.").ToList();
        return errors.Count == 0 ? ValidationResult.Success : new(string.Join(" ", errors), [nameof(LibraryOptions.Peers)]);
    }

    private static bool IsDatacenter(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url) && url is { Scheme: "http" or "https", UserInfo: "", Query: "", Fragment: "" } && PathPattern().IsMatch(url.AbsolutePath);

    /// <summary>The message is logged: it must not contain a password or a token.</summary>
    private static string Shown(string text) => text.AsSpan().IndexOfAny('@', '?') < 0 ? $"'{text}'" : "not shown, because it may contain one";

    // A proxy may put the gateway below a path of its own.
    [GeneratedRegex(@"/api/v1/datacenters/[A-Za-z0-9-]+/?\z")]
    private static partial Regex PathPattern();
}

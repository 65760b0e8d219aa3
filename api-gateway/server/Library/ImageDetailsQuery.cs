using System.ComponentModel;
using Instances.Faults;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Library;

/// <summary>The details of an imported image, as query parameters.</summary>
internal readonly record struct ImageDetailsQuery(
    [property: FromQuery(Name = "description"), Description("At most 4,096 characters.")] string? Text,
    [property: FromQuery(Name = "minCpus"), Description("A virtual machine with fewer CPUs is refused.")] int? MinCpus,
    [property: FromQuery(Name = "defaultCpus"), Description("For virtual machines that name no number of CPUs.")] int? DefaultCpus,
    [property: FromQuery(Name = "minMemoryBytes"), Description("A virtual machine with less memory is refused.")] long? MinMemoryBytes,
    [property: FromQuery(Name = "defaultMemoryBytes"), Description("For virtual machines that name no memory.")] long? DefaultMemoryBytes,
    [property: FromQuery(Name = "category"), Description("1 to 64 printable characters.")] string? Category,
    [property: FromQuery(Name = "icon"), Description("The name of an icon: 1 to 64 of a-z, 0-9 and hyphens.")] string? Icon,
    [property: FromQuery(Name = "operatingSystem"), Description("1 to 64 printable characters, such as Debian 12.")] string? OperatingSystem,
    [property: FromQuery(Name = "label"), Description("key=value; can be repeated, at most 32 times.")] string[]? Labels)
{
    /// <summary>Null without any of the parameters.</summary>
    /// <exception cref="FaultException">image-invalid.</exception>
    public ImageDetails? ToDetails()
    {
        var details = new ImageDetails(Text, MinCpus, DefaultCpus, MinMemoryBytes, DefaultMemoryBytes, Category, Icon, OperatingSystem, Labels is { Length: > 0 } ? Parsed(Labels) : null);
        return details == ImageDetails.None ? null : details;
    }

    private static Dictionary<string, string> Parsed(string[] labels)
    {
        var parsed = new Dictionary<string, string>();
        foreach (var label in labels)
        {
            var parts = label.Split('=', 2);
            if (parts.Length != 2) throw FaultException.Invalid("image-invalid", $"The label '{label}' is not key=value.");
            if (!parsed.TryAdd(parts[0], parts[1])) throw FaultException.Invalid("image-invalid", $"The label '{parts[0]}' is given twice.");
        }

        return parsed;
    }
}

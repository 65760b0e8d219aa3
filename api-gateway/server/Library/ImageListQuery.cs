using System.ComponentModel;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Requests;
using Instances.VirtualMachines;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Library;

/// <summary>Which images are listed, and in which order, as query parameters.</summary>
internal readonly record struct ImageListQuery(
    [property: FromQuery(Name = "kind"), Description("Only masters, or only slaves.")] Choice<ImageKind>? Kind,
    [property: FromQuery(Name = "status"), Description("Only images in this status.")] Choice<ImageStatus>? Status,
    [property: FromQuery(Name = "master"), Description("Only the slaves of this master.")] ImageId? Master,
    [property: FromQuery(Name = "name"), Description("Only images of exactly this name.")] string? Name,
    [property: FromQuery(Name = "search"), Description("Only images with this text in their name, in any case: 1 to 128 characters.")] string? Search,
    [property: FromQuery(Name = "parent"), Description("Only images captured from virtual machines that used this image.")] ImageId? Parent,
    [property: FromQuery(Name = "virtualMachine"), Description("Only images captured from this virtual machine: with includeRetired, the history of its captures.")]
    VirtualMachineId? VirtualMachine,
    [property: FromQuery(Name = "enterprise"), Description("Only images that this enterprise's virtual machines can use: its own, and shared ones.")] EnterpriseId? Enterprise,
    [property: FromQuery(Name = "label"), Description("key or key=value; can be repeated, at most 8 times. Images must have all of the labels.")] string[]? Label,
    [property: FromQuery(Name = "createdAfter"), Description("Only images created at this moment or later, such as 2026-01-31T12:00:00Z.")] DateTimeOffset? CreatedAfter,
    [property: FromQuery(Name = "createdBefore"), Description("Only images created before this moment.")] DateTimeOffset? CreatedBefore,
    [property: FromQuery(Name = "includeRetired"), Description("Also retired images, if no status is given.")] bool? IncludeRetired,
    [property: FromQuery(Name = "sort"), Description("created (default), name (without regard to case) or size.")] Choice<ImageOrder>? Sort,
    [property: FromQuery(Name = "descending"), Description("Reverse the order.")] bool? Descending)
{
    public ImageFilter ToFilter() => new(
        Kind?.Value, Status?.Value, Master, Name, Search, Parent, VirtualMachine, Label is { Length: > 0 } ? Label : null, CreatedAfter, CreatedBefore,
        IncludeRetired ?? false, Sort?.Value ?? ImageOrder.Created, Descending ?? false, Enterprise);
}

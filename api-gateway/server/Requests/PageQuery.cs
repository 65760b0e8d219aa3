using System.ComponentModel;
using Instances.Catalogue;
using Instances.Faults;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Requests;

/// <summary>The query parameters of every list.</summary>
internal readonly record struct PageQuery(
    [property: FromQuery(Name = "limit"), Description("The most items of a page, 1 to 1,000. Default: 100.")] int? Limit,
    [property: FromQuery(Name = "cursor"), Description("The nextCursor of the page before; left out for the first page.")] string? Cursor)
{
    /// <exception cref="FaultException">limit-out-of-range.</exception>
    public PageRequest ToRequest() => Limit is < 1 or > PageRequest.MaxLimit
        ? throw FaultException.Invalid("limit-out-of-range", $"limit is {Limit}; it has to be 1 to {PageRequest.MaxLimit}.")
        : new(Limit ?? PageRequest.DefaultLimit, Cursor);
}

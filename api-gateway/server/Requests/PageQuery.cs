using System.ComponentModel;
using Instances.Catalogue;
using Instances.Faults;

namespace Instances.Requests;

/// <summary>The query parameters of every list.</summary>
internal readonly record struct PageQuery(
    [property: Description("At most so many items, 1 to 1,000; 100 where it is left out.")] int? Limit,
    [property: Description("The nextCursor of the page before; left out for the first page.")] string? Cursor)
{
    /// <exception cref="FaultException">limit-out-of-range.</exception>
    public PageRequest ToRequest() => Limit is < 1 or > PageRequest.MaxLimit
        ? throw FaultException.Invalid("limit-out-of-range", $"limit is {Limit}; it has to be 1 to {PageRequest.MaxLimit}.")
        : new(Limit ?? PageRequest.DefaultLimit, Cursor);
}

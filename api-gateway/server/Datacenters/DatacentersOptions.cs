using System.Net;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Options;

namespace Instances.Datacenters;

/// <summary>The configuration section <c>Datacenters</c>: for each name the Orleans gateways of its silos.</summary>
internal sealed class DatacentersOptions : Dictionary<string, DatacenterOptions>
{
    public const string Section = "Datacenters";

    public DatacentersOptions()
        : base(StringComparer.OrdinalIgnoreCase)
    {
    }
}

internal sealed class DatacenterOptions
{
    /// <summary>Each an IP address and a port, such as <c>10.0.0.1:30000</c>. At least one.</summary>
    public IList<string> Gateways { get; init; } = [];

    public IPEndPoint[] EndPoints() => [.. Gateways.Select(gateway => IPEndPoint.Parse(gateway))];
}

/// <summary>Reports all errors at once.</summary>
internal sealed partial class DatacentersOptionsValidator : IValidateOptions<DatacentersOptions>
{
    public ValidateOptionsResult Validate(string? name, DatacentersOptions options)
    {
        var errors = new List<string>();
        if (options.Count == 0)
            errors.Add($"{DatacentersOptions.Section} is empty: configure at least one, such as {DatacentersOptions.Section}:east:Gateways:0=10.0.0.1:30000.");
        foreach (var (datacenter, value) in options)
        {
            if (!NamePattern().IsMatch(datacenter))
                errors.Add($"{DatacentersOptions.Section}:{datacenter} is not a name: 1 to 63 letters, digits and hyphens.");
            if (value.Gateways.Count == 0)
                errors.Add($"{DatacentersOptions.Section}:{datacenter}:Gateways is empty: give at least one address and port.");
            errors.AddRange(value.Gateways.Where(gateway => !IsEndPoint(gateway)).Select(gateway =>
                $"{DatacentersOptions.Section}:{datacenter}:Gateways holds '{gateway}', which is not an IP address and a port, such as 10.0.0.1:30000."));
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private static bool IsEndPoint(string text) => IPEndPoint.TryParse(text, out var endPoint) && endPoint.Port != 0;

    [GeneratedRegex(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z")]
    private static partial Regex NamePattern();
}

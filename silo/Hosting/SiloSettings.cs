using System.ComponentModel.DataAnnotations;
using System.Net;
using Instances.Datacenters;
using Instances.Storage;
using Microsoft.Extensions.Options;

namespace Instances.Hosting;

/// <summary>Configuration section <c>Silo</c>: what this process does in its datacenter, and how the others reach it.</summary>
internal sealed class SiloSettings
{
    public const string Section = "Silo";

    /// <summary>One or more of Control, Host and Library, with commas between them.</summary>
    public SiloRoles Roles { get; set; } = SiloRoles.All;

    /// <summary>The datacenter of this silo: the name of its cluster and of its database, and in the paths of the interface.</summary>
    [Required, RegularExpression(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z", ErrorMessage = "Silo:Datacenter has 1 to 63 letters, digits and hyphens.")]
    public string Datacenter { get; set; } = ClusterNames.Local;

    /// <summary>The IP address of this machine at which other silos, and gateways in other processes, reach this silo. Its web server listens there too.</summary>
    [Required]
    public string Address { get; set; } = IPAddress.Loopback.ToString();

    /// <summary>TCP port for the other silos; 0 takes a free one. With a fixed port, a restarted silo can take its place at once.</summary>
    [Range(0, 65535)]
    public int Port { get; set; }

    /// <summary>TCP port for gateways in other processes; 0 opens none.</summary>
    [Range(0, 65535)]
    public int ClientPort { get; set; }

    /// <summary>How long an orderly stop waits for the operations of this silo, and for captures that hold machines of its host.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan DrainBound { get; set; } = TimeSpan.FromSeconds(60);
}

/// <summary>Checks the sections <c>Silo</c> and <c>Storage</c> together.</summary>
internal sealed class SiloSettingsValidator(IOptions<StorageOptions> storage) : IValidateOptions<SiloSettings>
{
    public ValidateOptionsResult Validate(string? name, SiloSettings options)
    {
        var errors = new List<string>();
        if (options.Roles is SiloRoles.None) errors.Add("Silo:Roles is empty: one or more of Control, Host and Library.");
        if (!IPAddress.TryParse(options.Address, out _)) errors.Add($"Silo:Address is '{options.Address}', which is not an IP address.");
        if (options.Port != 0 && options.Port == options.ClientPort) errors.Add($"Silo:Port and Silo:ClientPort are both {options.Port}: they are two ports.");
        // The section's own validation reports its errors.
        if (options.Roles is not (SiloRoles.All or SiloRoles.None) && IsSqlite())
            errors.Add($"Silo:Roles is {options.Roles}, only some of the roles, so that other silos have the rest. Silos find each other in PostgreSQL: set Storage:Provider=PostgreSql.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private bool IsSqlite()
    {
        try
        {
            return storage.Value.Provider is StorageProvider.Sqlite;
        }
        catch (OptionsValidationException)
        {
            return false;
        }
    }
}

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

    /// <summary>The datacenter that this silo is a part of: the name of its cluster, of its database, and in the paths of the interface.</summary>
    [Required, RegularExpression(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z", ErrorMessage = "Silo:Datacenter has 1 to 63 letters, digits and hyphens.")]
    public string Datacenter { get; set; } = ClusterNames.Local;

    /// <summary>The IP address of this machine at which other silos, and gateways in processes of their own, reach this silo. Its web server listens there, too.</summary>
    [Required]
    public string Address { get; set; } = IPAddress.Loopback.ToString();

    /// <summary>TCP port for the other silos; 0 takes a free one. A fixed one lets a silo that is started again take its place at once.</summary>
    [Range(0, 65535)]
    public int Port { get; set; }

    /// <summary>TCP port for gateways in other processes; 0 opens none.</summary>
    [Range(0, 65535)]
    public int ClientPort { get; set; }

    /// <summary>How long operations that run in this silo, and captures that hold machines of its host, may take to end before it stops.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan DrainBound { get; set; } = TimeSpan.FromSeconds(60);
}

/// <summary>What the sections <c>Silo</c> and <c>Storage</c> say together.</summary>
internal sealed class SiloSettingsValidator(IOptions<StorageOptions> storage) : IValidateOptions<SiloSettings>
{
    public ValidateOptionsResult Validate(string? name, SiloSettings options)
    {
        var errors = new List<string>();
        if (options.Roles is SiloRoles.None) errors.Add("Silo:Roles is empty: one or more of Control, Host and Library.");
        if (!IPAddress.TryParse(options.Address, out _)) errors.Add($"Silo:Address is '{options.Address}', which is not an IP address.");
        if (options.Port != 0 && options.Port == options.ClientPort) errors.Add($"Silo:Port and Silo:ClientPort are both {options.Port}: they are two ports.");
        // Its own errors are told by its own validation.
        if (options.Roles is not (SiloRoles.All or SiloRoles.None) && IsSqlite())
            errors.Add($"Silo:Roles is {options.Roles}, a part of the roles, so that other silos have the rest. They find each other in PostgreSQL: set Storage:Provider=PostgreSql.");
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

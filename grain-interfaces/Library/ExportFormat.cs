namespace Instances.Library;

/// <summary>The formats that an image can be exported as. Each file is a whole disk and needs no other.</summary>
public enum ExportFormat
{
    Qcow2,

    /// <summary>The disk's bytes as they are, zeros too.</summary>
    Raw,

    /// <summary>VMware's, stream-optimized, which is compressed.</summary>
    Vmdk,

    /// <summary>Hyper-V's, dynamic.</summary>
    Vhdx,
}

/// <summary>The compression of an export.</summary>
public enum ExportCompression
{
    Zstd,
}

/// <summary>Where an image can be exported, with a secret. A client with the secret can export this image for some minutes. Never logged.</summary>
/// <param name="Address">The data plane's URL for this image.</param>
[GenerateSerializer, Immutable, Alias("instances.ExportTicket")]
public sealed record ExportTicket([property: Id(0)] Uri Address, [property: Id(1)] string Secret);

using System.Text;

namespace Instances.Library;

/// <summary>Where a sealed layer can be fetched: as a file, if the caller sees the same file system, else over HTTP from the silo or the datacenter that offers it.</summary>
/// <param name="Bytes">Space that the file takes.</param>
/// <param name="LengthBytes">Length of the file, holes included.</param>
/// <param name="Sha256">Of the file, in lower case hex; null if the offering silo does not know it yet.</param>
/// <param name="Path">Absolute, as the offering silo sees it; empty if another datacenter offers it.</param>
/// <param name="Address">The layer's URL at the offering silo's data plane, or at the other datacenter's gateway; null if that silo does not know how others reach it.</param>
/// <param name="Ticket">A client with the ticket can read this layer for some minutes. Never logged. Empty if none is needed.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerOffer")]
public sealed record LayerOffer(
    [property: Id(0)] LayerId Id,
    [property: Id(1)] long Bytes,
    [property: Id(2)] long LengthBytes,
    [property: Id(3)] string? Sha256,
    [property: Id(4)] string Path,
    [property: Id(5)] Uri? Address,
    [property: Id(6)] string Ticket)
{
    /// <summary>The identity of the store that offers it.</summary>
    [Id(7)]
    public string Store { get; init; } = "";

    // The ticket stays out of logs and of messages.
    private bool PrintMembers(StringBuilder text)
    {
        text.Append("Id = ").Append(Id).Append(", Bytes = ").Append(Bytes).Append(", Path = ").Append(Path).Append(", Address = ").Append(Address);
        return true;
    }
}

/// <summary>A sealed layer of the library, as the interface shows it.</summary>
/// <param name="Bytes">Space that the file takes.</param>
/// <param name="LengthBytes">Length of the file, holes included.</param>
/// <param name="Sha256">The expected SHA-256 of the file, in lower case hex; null until the file was read once.</param>
public sealed record LayerView(LayerId Id, long Bytes, long LengthBytes, string? Sha256);

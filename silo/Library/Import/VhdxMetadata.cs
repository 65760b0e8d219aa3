using static Instances.Library.Import.VhdxNumbers;

namespace Instances.Library.Import;

/// <summary>The metadata of a VHDX file about its disk.</summary>
internal sealed record VhdxMetadata(uint BlockBytes, ulong VirtualSizeBytes, uint LogicalSectorBytes, bool HasParent)
{
    private const int TableBytes = 64 << 10;
    private const int EntryBytes = 32;
    private const uint MaxEntries = 2047;
    private const uint MaxItemBytes = 1 << 20;
    private const uint HasParentFlag = 2;

    public static readonly Guid ParametersId = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
    public static readonly Guid VirtualSizeId = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
    public static readonly Guid LogicalSectorId = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
    private static readonly Guid s_parentLocator = new("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");
    public static readonly Guid Page83Id = new("BECA12AB-B2E6-4523-93EF-C309E000C746");
    public static readonly Guid PhysicalSectorId = new("CDA348C7-445D-4471-9CC9-E9885251C556");

    private static readonly Guid[] s_known = [ParametersId, VirtualSizeId, LogicalSectorId, s_parentLocator, Page83Id, PhysicalSectorId];

    public static VhdxMetadata Read(FileReader file, VhdxRegions.Region region)
    {
        if (region.Bytes < TableBytes)
            throw ImportFaults.Malformed("its metadata is cut");
        var items = ReadItems(file.Read(region.Offset, TableBytes, "metadata"), region);
        var parameters = Item(ParametersId, 8);
        return new(
            Number32(parameters, 0),
            Number64(Item(VirtualSizeId, 8), 0),
            Number32(Item(LogicalSectorId, 4), 0),
            (Number32(parameters, 4) & HasParentFlag) != 0 || items.ContainsKey(s_parentLocator));

        byte[] Item(Guid id, int bytes) => items.TryGetValue(id, out var place) && place.Bytes >= bytes
            ? file.Read(region.Offset + place.Offset, bytes, "metadata")
            : throw ImportFaults.Malformed("its metadata is not whole");
    }

    private static Dictionary<Guid, (uint Offset, uint Bytes)> ReadItems(byte[] table, VhdxRegions.Region region)
    {
        var count = Number16(table, 10);
        if (!table.AsSpan().StartsWith("metadata"u8) || count > MaxEntries)
            throw ImportFaults.Malformed("its metadata table is damaged");

        var items = new Dictionary<Guid, (uint, uint)>();
        for (var index = 1; index <= count; index++)
        {
            var entry = table.AsSpan(index * EntryBytes, EntryBytes);
            var (id, offset, bytes, isRequired) = (new Guid(entry[..16]), Number32(entry, 16), Number32(entry, 20), (Number32(entry, 24) & 4) != 0);
            if (bytes > MaxItemBytes || (bytes > 0 && (offset < TableBytes || (ulong)offset + bytes > region.Bytes)) || !items.TryAdd(id, (offset, bytes)))
                throw ImportFaults.Malformed("its metadata lies outside its region or stands twice");
            if (isRequired && !s_known.Contains(id))
                throw ImportFaults.UnsupportedFeature("metadata of a later version of VHDX");
        }

        return items;
    }
}

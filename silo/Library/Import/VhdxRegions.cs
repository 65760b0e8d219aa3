using static Instances.Library.Import.VhdxNumbers;

namespace Instances.Library.Import;

/// <summary>The two places that a VHDX file's region table names: of the table of blocks and of the metadata.</summary>
internal sealed record VhdxRegions(VhdxRegions.Region Blocks, VhdxRegions.Region Metadata)
{
    private const ulong FirstTable = 192 << 10;
    private const int TableBytes = 64 << 10;
    private const int EntriesOffset = 16;
    private const int EntryBytes = 32;
    private const uint MaxEntries = 2047;
    private const uint Mebibyte = 1 << 20;

    public static readonly Guid BlocksId = new("2DC27766-F623-4200-9D64-115E9BFD4A08");
    public static readonly Guid MetadataId = new("8B7CA206-4790-4B9A-B8FE-575F050F886E");

    /// <summary>Reads the first of the two tables, as qemu-img does. If it is damaged, the file counts as damaged.</summary>
    public static VhdxRegions Read(FileReader file)
    {
        var table = file.Read(FirstTable, TableBytes, "region table");
        if (!IsWhole(table, "regi"u8) || Number32(table, 8) > MaxEntries)
            throw ImportFaults.Malformed("its region table is damaged");

        var found = new Dictionary<Guid, Region>();
        for (var index = 0; index < Number32(table, 8); index++)
        {
            var entry = table.AsSpan(EntriesOffset + (index * EntryBytes), EntryBytes);
            var (id, region, isRequired) = (new Guid(entry[..16]), new Region(Number64(entry, 16), Number32(entry, 24)), (Number32(entry, 28) & 1) != 0);
            if (region.Offset < Mebibyte || region.Offset % Mebibyte != 0 || region.Bytes == 0 || !file.Holds(region.Offset, region.Bytes)
                || found.Values.Any(other => other.Overlaps(region.Offset, region.Bytes)) || !found.TryAdd(id, region))
            {
                throw ImportFaults.Malformed("its regions lie outside the file, or over one another");
            }

            if (isRequired && id != BlocksId && id != MetadataId)
                throw ImportFaults.UnsupportedFeature("a region of a later version of VHDX");
        }

        return found.TryGetValue(BlocksId, out var blocks) && found.TryGetValue(MetadataId, out var metadata)
            ? new(blocks, metadata)
            : throw ImportFaults.Malformed("it has no table of blocks or no metadata");
    }

    public bool Overlap(ulong offset, ulong bytes) => Blocks.Overlaps(offset, bytes) || Metadata.Overlaps(offset, bytes);

    /// <summary>A place that is completely in the file.</summary>
    internal readonly record struct Region(ulong Offset, uint Bytes)
    {
        public bool Overlaps(ulong offset, ulong bytes) => Offset < offset + bytes && offset < Offset + Bytes;
    }
}

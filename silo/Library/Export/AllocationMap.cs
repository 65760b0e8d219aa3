namespace Instances.Library.Export;

/// <summary>Which units of a disk have data, from one pass over the tables of its layers. Reads no data. The other units are zeros.</summary>
/// <remarks>A bit for each unit, in pages that are allocated only if one of their units has data: 2 MiB of memory for each tebibyte in use.</remarks>
internal sealed class AllocationMap
{
    public const int UnitBytes = 64 << 10;

    /// <summary>The number of entries of a qcow2 table of <see cref="UnitBytes"/>.</summary>
    public const int UnitsOfPage = UnitBytes / sizeof(ulong);

    private readonly ulong[]?[] _pages;

    private AllocationMap(long units)
    {
        Units = units;
        _pages = new ulong[(units + UnitsOfPage - 1) / UnitsOfPage][];
    }

    /// <summary>The units of the disk. The last one may be partial.</summary>
    public long Units { get; }

    /// <summary>How many units have data.</summary>
    public long Allocated { get; private set; }

    public int Pages => _pages.Length;

    /// <exception cref="Faults.FaultException">layer-unreadable.</exception>
    public static AllocationMap Of(LayeredDisk disk, CancellationToken cancellationToken)
    {
        var map = new AllocationMap((disk.VirtualSizeBytes + UnitBytes - 1) / UnitBytes);
        for (long offset = 0, bytes; offset < disk.VirtualSizeBytes; offset += bytes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            (var isData, bytes) = disk.Find(offset, disk.VirtualSizeBytes - offset);
            if (isData) map.Add(offset / UnitBytes, (offset + bytes - 1) / UnitBytes);
        }

        return map;
    }

    public bool IsUsed(int page) => _pages[page] is not null;

    public bool Contains(long unit) => _pages[unit / UnitsOfPage] is { } page && (page[unit % UnitsOfPage / 64] & (1UL << (int)(unit % 64))) != 0;

    /// <summary>Whether one of some units has data. Units after the end of the disk have none.</summary>
    public bool ContainsAny(long first, int count)
    {
        for (var unit = first; unit < Math.Min(first + count, Units); unit++)
        {
            if (Contains(unit)) return true;
        }

        return false;
    }

    /// <summary>The ranges of adjacent units with data, in ascending order.</summary>
    /// <param name="most">The most units in a range.</param>
    public IEnumerable<(long First, int Count)> Runs(int most)
    {
        for (long unit = 0; unit < Units; unit++)
        {
            if (!IsUsed((int)(unit / UnitsOfPage)))
            {
                unit += UnitsOfPage - (unit % UnitsOfPage) - 1;
                continue;
            }

            var count = 0;
            while (count < most && unit + count < Units && Contains(unit + count)) count++;
            if (count == 0) continue;
            yield return (unit, count);
            unit += count - 1;
        }
    }

    private void Add(long first, long last)
    {
        for (var unit = first; unit <= last; unit++)
        {
            var page = _pages[unit / UnitsOfPage] ??= new ulong[UnitsOfPage / 64];
            var bit = 1UL << (int)(unit % 64);
            if ((page[unit % UnitsOfPage / 64] & bit) != 0) continue;
            page[unit % UnitsOfPage / 64] |= bit;
            Allocated++;
        }
    }
}

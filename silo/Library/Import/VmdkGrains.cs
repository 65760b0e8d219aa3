using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Instances.Library.Import;

/// <summary>The two levels of tables of a sparse extent: a directory, its tables, and the grains that they name.</summary>
internal sealed class VmdkGrains
{
    private const int SectorBytes = VmdkHeader.SectorBytes;
    private const int EntryBytes = sizeof(uint);
    private const int TableBytes = (int)VmdkHeader.EntriesOfTable * EntryBytes;
    private const int GrainMarkerBytes = 12;

    /// <summary>This number in a table means that a grain is zeros.</summary>
    private const uint ZeroGrain = 1;

    private readonly FileReader _file;
    private readonly VmdkHeader _header;
    private readonly ulong _grainBytes;
    private ulong _grains;

    private VmdkGrains(FileReader file, VmdkHeader header)
    {
        _file = file;
        _header = header;
        _grainBytes = header.GrainSectors * SectorBytes;
    }

    public static void Check(FileReader file, VmdkHeader header) => new VmdkGrains(file, header).Check();

    private void Check()
    {
        if (_header.OverheadSectors > _file.Bytes / SectorBytes)
            throw ImportFaults.Malformed("it is cut before its first grain");

        var sectorsOfTable = VmdkHeader.EntriesOfTable * _header.GrainSectors;
        var directoryBytes = (UInt128)((_header.Capacity + sectorsOfTable - 1) / sectorsOfTable) * EntryBytes;
        if (_header.RedundantDirectorySector is { } second && !_file.Holds(Offset(second), (ulong)directoryBytes))
            throw ImportFaults.Malformed("its second grain directory lies outside the file");
        var directory = MemoryMarshal.Cast<byte, uint>(_file.ReadTable(Offset(_header.DirectorySector), directoryBytes, "grain directory"));

        CheckTables(directory);
        Span<byte> table = stackalloc byte[TableBytes];
        for (var index = 0; index < directory.Length; index++)
        {
            if (directory[index] == 0)
                continue;
            _file.Read((ulong)directory[index] * SectorBytes, table, "grain table");
            CheckGrains(MemoryMarshal.Cast<byte, uint>(table), (ulong)index * sectorsOfTable);
        }

        // Many grains at one place could make a small file expand to a large disk.
        if (_grains > _file.Bytes / (_header.IsCompressed ? SectorBytes : _grainBytes))
            throw ImportFaults.Malformed("its grains lie over one another");
    }

    private void CheckTables(ReadOnlySpan<uint> directory)
    {
        var tables = new List<ulong>();
        foreach (var sector in directory)
        {
            if (sector != 0)
                tables.Add((ulong)sector * SectorBytes);
        }

        FileReader.RequireApart(tables, TableBytes, SectorBytes, _file.Bytes, "grain tables");
    }

    private void CheckGrains(ReadOnlySpan<uint> table, ulong firstSector)
    {
        for (var index = 0; index < table.Length; index++)
        {
            var sector = firstSector + ((ulong)index * _header.GrainSectors);
            if (table[index] is 0 or ZeroGrain || sector >= _header.Capacity)
                continue;
            _grains++;
            CheckGrain((ulong)table[index] * SectorBytes, sector);
        }
    }

    private void CheckGrain(ulong offset, ulong sector)
    {
        if (!_header.IsCompressed)
        {
            if (!_file.Holds(offset, Math.Min(_grainBytes, (_header.Capacity - sector) * SectorBytes)))
                throw ImportFaults.Malformed("its grains lie outside the file");
            return;
        }

        Span<byte> marker = stackalloc byte[GrainMarkerBytes];
        _file.Read(offset, marker, "grain");
        var bytes = BinaryPrimitives.ReadUInt32LittleEndian(marker[8..]);
        if (BinaryPrimitives.ReadUInt64LittleEndian(marker) != sector || bytes == 0 || bytes > 2 * _grainBytes || !_file.Holds(offset + GrainMarkerBytes, bytes))
            throw ImportFaults.Malformed("its grains are not where its tables say");
    }

    // A number that does not fit is outside of every file.
    private static ulong Offset(ulong sector) => sector <= ulong.MaxValue / SectorBytes ? sector * SectorBytes : ulong.MaxValue;
}

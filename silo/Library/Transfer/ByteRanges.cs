namespace Instances.Library.Transfer;

/// <summary>Bytes of a layer, from an offset on.</summary>
internal readonly record struct ByteRange(long Offset, long Length)
{
    public long End => Offset + Length;
}

/// <summary>Data of a layer, between its holes.</summary>
/// <param name="Data">Offsets and lengths in turn, in ascending order.</param>
/// <param name="Next">The offset for the next request; null if no more data follows.</param>
internal sealed record LayerExtents(IReadOnlyList<long> Data, long? Next)
{
    /// <summary>How many extents one answer contains.</summary>
    public const int MaxExtents = 8192;

    /// <summary>Whether the extents are in order within a file of this length, begin at or after a place, and the next offset is after them.</summary>
    public bool IsWithin(long from, long lengthBytes)
    {
        var end = from;
        foreach (var (offset, length) in Ranges)
        {
            if (offset < end || length <= 0 || offset > lengthBytes - length) return false;
            end = offset + length;
        }

        return Next is not { } next || (next > from && next >= end && next <= lengthBytes);
    }

    public IEnumerable<ByteRange> Ranges => Data.Chunk(2).Select(pair => new ByteRange(pair[0], pair[1]));
}

/// <param name="Sha256">Of the whole file, in lower case hex.</param>
internal sealed record LayerDigest(string Sha256);

/// <summary>How much one request may ask for. Layers have many small extents, so that one answer contains many of them (multipart/byteranges).</summary>
internal static class ByteRanges
{
    public const int MaxRanges = 256;
    public const long MaxBytes = 16L << 20;

    /// <summary>Splits extents into requests.</summary>
    public static IEnumerable<IReadOnlyList<ByteRange>> Requests(IEnumerable<ByteRange> extents)
    {
        var (ranges, bytes) = (new List<ByteRange>(), 0L);
        foreach (var extent in extents)
        {
            for (var rest = extent; rest.Length > 0;)
            {
                var part = rest with { Length = Math.Min(rest.Length, MaxBytes - bytes) };
                ranges.Add(part);
                bytes += part.Length;
                rest = new(part.End, rest.Length - part.Length);
                if (ranges.Count < MaxRanges && bytes < MaxBytes) continue;
                yield return ranges;
                (ranges, bytes) = ([], 0L);
            }
        }

        if (ranges.Count > 0) yield return ranges;
    }

    /// <summary>The line of headers before a part's bytes, and the blank line that ends them. It is short, so that small pieces have little overhead.</summary>
    public static string PartHead(string boundary, ByteRange range, long length) =>
        $"\r\n--{boundary}\r\nContent-Range: bytes {range.Offset}-{range.End - 1}/{length}\r\n\r\n";

    public static string End(string boundary) => $"\r\n--{boundary}--\r\n";
}

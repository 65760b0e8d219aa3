using System.Globalization;
using System.Text;

namespace Instances.Library.Transfer;

/// <summary>Reads the body of an answer with ranges: the headers of parts line by line, and their bytes by the requested lengths.</summary>
internal sealed class RangesBody(Stream body, LayerClient.Silence quiet)
{
    private const int BufferBytes = 256 << 10;
    private const int MaxLineBytes = 512;
    private const int MaxLines = 16;

    private readonly byte[] _buffer = new byte[BufferBytes];
    private int _start;
    private int _end;

    /// <exception cref="TransferBrokenException">The body has another part than requested.</exception>
    public async Task ReadHead(string? boundary, ByteRange range)
    {
        var (begun, found) = (false, false);
        for (var lines = 0; lines < MaxLines; lines++)
        {
            var line = await ReadLine();
            if (line == $"--{boundary}") begun = true;
            else if (begun && line.StartsWith("Content-Range:", StringComparison.OrdinalIgnoreCase)) found = line.Contains(string.Create(CultureInfo.InvariantCulture, $"bytes {range.Offset}-{range.End - 1}/"), StringComparison.Ordinal);
            else if (begun && line.Length == 0 && found) return;
        }

        throw new TransferBrokenException("the other side sent other ranges than requested.");
    }

    public async Task Take(ByteRange range, Func<long, ReadOnlyMemory<byte>, ValueTask> take)
    {
        for (var offset = range.Offset; offset < range.End;)
        {
            if (_start == _end) await Fill();
            var bytes = (int)Math.Min(_end - _start, range.End - offset);
            await take(offset, _buffer.AsMemory(_start, bytes));
            (_start, offset) = (_start + bytes, offset + bytes);
        }
    }

    private async Task<string> ReadLine()
    {
        var line = new StringBuilder();
        while (line.Length < MaxLineBytes)
        {
            if (_start == _end) await Fill();
            var character = (char)_buffer[_start++];
            if (character == '\n') return line.ToString().TrimEnd('\r');
            line.Append(character);
        }

        throw new TransferBrokenException("the other side sent too long a header of a part.");
    }

    private async Task Fill()
    {
        _start = 0;
        _end = await quiet.Hear(() => body.ReadAsync(_buffer, quiet.Token).AsTask());
        if (_end == 0) throw new TransferBrokenException("the connection ended early.");
    }
}

using System.Formats.Tar;

namespace Instances.Library.Export;

/// <summary>Several disks in one tar file (GNU's, for files of any length), which is created while it is written.</summary>
/// <param name="disks">The disks with their names. Their lengths must be known.</param>
internal sealed class DiskArchive(IReadOnlyList<(string Name, DiskFile File)> disks, DateTimeOffset time)
{
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    /// <summary>How long the file will be.</summary>
    public async Task<long> Measure(CancellationToken cancellationToken)
    {
        await using var counter = new Counter();
        await Write(counter, (file, _, _) =>
        {
            counter.Bytes += file.Bytes!.Value;
            return Task.CompletedTask;
        }, cancellationToken);
        return counter.Bytes;
    }

    public Task Write(Stream target, CancellationToken cancellationToken) => Write(target, (file, archive, token) => file.Write(archive, token), cancellationToken);

    private async Task Write(Stream target, Func<DiskFile, Stream, CancellationToken, Task> write, CancellationToken cancellationToken)
    {
        await using var archive = new TarWriter(target, TarEntryFormat.Gnu, leaveOpen: true);
        foreach (var (name, file) in disks)
        {
            await using var content = new Content(file, write);
            await archive.WriteEntryAsync(new GnuTarEntry(TarEntryType.RegularFile, name) { DataStream = content, ModificationTime = time, Mode = Mode }, cancellationToken);
        }
    }

    /// <summary>A stream for the archive's writer, which only reads its length and copies it.</summary>
    private sealed class Content(DiskFile file, Func<DiskFile, Stream, CancellationToken, Task> write) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => true;

        public override bool CanWrite => false;

        public override long Length => file.Bytes!.Value;

        public override long Position { get; set; }

        public override async Task CopyToAsync(Stream destination, int bufferSize, CancellationToken cancellationToken)
        {
            await write(file, destination, cancellationToken);
            Position = Length;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }
    }

    private sealed class Counter : WriteOnlyStream
    {
        public long Bytes { get; set; }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Bytes += buffer.Length;
            return ValueTask.CompletedTask;
        }
    }
}

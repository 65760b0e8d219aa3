using System.Diagnostics;
using System.Security.Cryptography;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Operations;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.DataPlane;

/// <summary>Imports of files by their paths. Where a name has a number, it is that of a line in the list of hostile images.</summary>
public sealed class ImportFromPathTests(ImportFromPathTests.Shared shared) : IClassFixture<ImportFromPathTests.Shared>
{
    private static readonly (string, string) Allowed = ("Import:AllowedFolders:0", "$folder/outside");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>One silo for the tests that do not look at all of the library.</summary>
    public sealed class Shared() : DataPlaneFixture(Allowed);

    [Fact]
    public async Task File_InAnAllowedFolder_BecomesReadyAndStaysWhereItIs()
    {
        var plane = shared.Plane;
        var (path, bytes) = await Disk(plane, "sub/disk.raw");

        var import = await plane.BeginFromPath(ImageFormat.Raw, path, Convert.ToHexString(SHA256.HashData(bytes)));

        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(bytes)), (await plane.Image(import).Get()).Import!.Sha256);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Token));
        Assert.Empty(Directory.GetFiles(plane.Store.Incoming));
    }

    [Fact]
    public async Task File_WhereNothingIsAllowed_IsRefused()
    {
        await using var plane = await TestDataPlane.Start();
        var (path, _) = await Disk(plane, "disk.raw");

        await AssertNotAllowed(plane, path);
    }

    [Theory]
    [InlineData("link to outside")]
    [InlineData("link in a folder")]
    [InlineData("..")]
    [InlineData("device")]
    [InlineData("FIFO")]
    [InlineData("directory")]
    [InlineData("/proc/self/mem")]
    [InlineData("second name")]
    [InlineData("missing")]
    [InlineData("relative")]
    [InlineData("NUL")]
    [InlineData("folder beside it")]
    public async Task Line46_PathOfWhatIsNoPlainFile_IsNotAllowed(string what)
    {
        var plane = shared.Plane;
        var (disk, _) = await Disk(plane, $"{Guid.NewGuid()}.raw");
        var folder = plane.Outside;
        var target = Path.Combine(Path.GetDirectoryName(folder)!, "secret");
        await File.WriteAllBytesAsync(target, new byte[512], Token);
        var path = Path.Combine(folder, $"{Guid.NewGuid()}");
        switch (what)
        {
            case "link to outside": File.CreateSymbolicLink(path, target); break;
            case "link in a folder": Directory.CreateSymbolicLink(path, folder); path += $"/{Path.GetFileName(disk)}"; break;
            case "..": path = folder + "/../secret"; break;
            case "device": TestLibrary.Run("mknod", path, "c", "1", "5"); break;
            case "FIFO": TestLibrary.Run("mkfifo", path); break;
            case "directory": Directory.CreateDirectory(path); break;
            case "second name": TestLibrary.Run("ln", disk, path); break;
            case "relative": path = "disk.raw"; break;
            case "NUL": path = disk + "\0"; break;
            case "folder beside it": path = Directory.CreateDirectory(folder + "-2").FullName + "/disk.raw"; File.Copy(disk, path); break;
            case "/proc/self/mem": path = what; break;
        }

        await AssertNotAllowed(plane, path).WaitAsync(Testing.Bounds.Wait, Token);
    }

    [Fact]
    public async Task Line46_FileSwappedForALinkAfterTheLook_IsNotFollowed()
    {
        var plane = shared.Plane;
        var (path, _) = await Disk(plane, "swapped.raw");
        var folders = new ImportFolders(Options.Create(new ImportOptions { AllowedFolders = [plane.Outside] }));
        folders.Open(path).File.Dispose();

        File.Delete(path);
        File.CreateSymbolicLink(path, "/etc/passwd");

        Assert.Equal("path-not-allowed", Assert.Throws<FaultException>(() => folders.Open(path)).Fault.Code);
    }

    /// <summary>A writer changes a byte while the file is read: the file's times show it.</summary>
    [Fact]
    public async Task Line48_FileThatChangesWhileItIsRead_IsAMismatchAndNothingIsKept()
    {
        await using var plane = await TestDataPlane.Start(Allowed);
        var (path, _) = await Disk(plane, "disk.raw", 64 << 20);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var writer = Task.Run(() =>
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            for (byte value = 0; !stop.IsCancellationRequested; value++) RandomAccess.Write(file, [value], 1 << 20);
        }, Token);

        var import = await plane.BeginFromPath(ImageFormat.Raw, path);
        var ended = await plane.End(import);
        await stop.CancelAsync();
        await writer;

        Assert.Equal((OperationStatus.Failed, "upload-mismatch"), (ended.Status, ended.Fault?.Code));
        await plane.NothingIsLeft();
    }

    private static async Task<(string Path, byte[] Bytes)> Disk(TestDataPlane plane, string name, int size = 1 << 20)
    {
        var path = Path.Combine(plane.Outside, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var bytes = RandomNumberGenerator.GetBytes(size);
        await File.WriteAllBytesAsync(path, bytes, Token);
        return (path, bytes);
    }

    /// <summary>qemu-img convert refuses it too: a running machine has not written everything.</summary>
    [Fact]
    public async Task File_ThatQemuMayWriteTo_IsRefusedUntilThatHasEnded()
    {
        var plane = shared.Plane;
        var (path, _) = await Disk(plane, "in-use.raw");
        using (var writer = Process.Start(new ProcessStartInfo("qemu-io", ["-f", "raw", path]) { RedirectStandardInput = true, RedirectStandardOutput = true })!)
        {
            var prompt = new byte[1];
            Assert.Equal(1, await writer.StandardOutput.BaseStream.ReadAsync(prompt, Token));
            Assert.Equal("file-in-use", (await Assert.ThrowsAsync<FaultException>(() => plane.BeginFromPath(ImageFormat.Raw, path))).Fault.Code);
            writer.StandardInput.Close();
            await writer.WaitForExitAsync(Token);
        }

        Assert.Equal(OperationStatus.Succeeded, (await plane.End(await plane.BeginFromPath(ImageFormat.Raw, path))).Status);
    }

    private static async Task AssertNotAllowed(TestDataPlane plane, string path)
    {
        var refused = await Assert.ThrowsAsync<FaultException>(() => plane.BeginFromPath(ImageFormat.Raw, path));
        Assert.Equal((FaultKind.Forbidden, "path-not-allowed"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Empty(Directory.GetFiles(plane.Store.Incoming));
    }
}

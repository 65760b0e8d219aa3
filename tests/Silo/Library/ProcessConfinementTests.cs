using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Library;

public sealed class ProcessConfinementTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-confinement-").FullName;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // The folder is closed to all other users: what is not handed over cannot be reached.
    [Fact]
    public async Task Program_GetsItsFilesAndReachesNoFolder()
    {
        var confinement = new ProcessConfinement(NullLogger<ProcessConfinement>.Instance);
        confinement.Become("nobody");
        var (source, target) = (Path.Combine(_folder, "source with 'quotes' $HOME"), Path.Combine(_folder, "target"));
        await File.WriteAllTextAsync(source, "content", Stop);
        await File.WriteAllTextAsync(target, "", Stop);
        confinement.Give(source);
        confinement.Give(target);

        var outcome = await BoundedProcess.Run(
            [.. confinement.Prefix(ProcessBounds.Short, source, target), "sh", "-c", $"cat {ProcessConfinement.Source} >{ProcessConfinement.Target}; id -u; ls {_folder}"], ProcessBounds.Short, Stop);

        Assert.Equal("content", await File.ReadAllTextAsync(target, Stop));
        if (!Environment.IsPrivilegedProcess) return;
        Assert.Equal($"{UnixUser.Find("nobody")!.Value.UserId}\n", outcome.Output);
        Assert.False(outcome.Succeeded);
    }

    [Fact]
    public void Become_UserThatDoesNotExist_IsRefusedUnlessRootIsAskedFor()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root can become another user.");
        var confinement = new ProcessConfinement(NullLogger<ProcessConfinement>.Instance);
        Assert.Contains("'no-such-user'", Assert.Throws<OptionsValidationException>(() => confinement.Become("no-such-user")).Message, StringComparison.Ordinal);
        confinement.Become(UnixUser.RootName);
    }
}

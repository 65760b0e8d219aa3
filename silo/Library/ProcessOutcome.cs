using Instances.Faults;

namespace Instances.Library;

/// <summary>How a process ended.</summary>
/// <param name="ExitCode">Of the process, 128 and the signal that ended it, or <see cref="OutOfBounds"/>.</param>
internal sealed record ProcessOutcome(int ExitCode, string Output, string Errors)
{
    /// <summary>It was ended because it took too long or printed too much.</summary>
    public const int OutOfBounds = -1;

    private const int NamedCharacters = 300;

    public bool Succeeded => ExitCode == 0;

    public bool IsNoSpace => Errors.Contains("No space left on device", StringComparison.Ordinal) || Errors.Contains("Disk quota exceeded", StringComparison.Ordinal);

    /// <summary>qemu-img could not create or write its target. Read errors are not included, because the content of a file may cause them.</summary>
    public bool FailedToWrite => Errors.Contains("error while writing", StringComparison.Ordinal) || Errors.Contains("Could not create", StringComparison.OrdinalIgnoreCase)
        || Errors.Contains("Read-only file system", StringComparison.Ordinal);

    /// <exception cref="FaultException">no-space; qemu-img-failed.</exception>
    /// <param name="folder">The folder of its target.</param>
    public void RequireSuccess(string folder)
    {
        if (Succeeded)
            return;
        if (IsNoSpace)
            throw FileFaults.NoSpaceLeft(folder);

        var reason = ExitCode == OutOfBounds ? "it took too long" : ForeignText.Clean(Errors, NamedCharacters);
        throw new FaultException(new(FaultKind.Internal, "qemu-img-failed", $"qemu-img failed ({ExitCode}): {reason}"));
    }
}

using System.Text.RegularExpressions;
using Instances.Client;
using Instances.Enterprises;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Testing;

/// <summary>The small guest of the tests, through the HTTP interface.</summary>
internal static partial class Guest
{
    public const long MemoryBytes = 160L << 20;

    public static VirtualMachineSpec Spec(string name, ImageId image, params long[] dataDisks) => new(name, image, MemoryBytes: MemoryBytes, DataDisks: dataDisks);

    /// <summary>What a guest prints when <see cref="WriteScattered"/> has written everything.</summary>
    public const string ChangesDone = "changes=done";

    /// <summary>User data: a script that writes pieces of 1 MiB, spread over a whole disk. Random bytes, since zeros would be detected and not stored.</summary>
    public static string WriteScattered(string device, long diskBytes, int mib) => $"""
        #!/bin/sh
        i=0
        while [ $i -lt {mib} ]; do
          dd if=/dev/urandom of={device} bs=1M count=1 seek=$((i * {((diskBytes >> 20) - 1) / mib})) conv=notrunc 2>/dev/null
          i=$((i + 1))
        done
        sync
        echo {ChangesDone}
        """;

    public static Task WaitForLine(this InstancesClient client, VirtualMachineId machine, string line) => Eventually.Holds(
        async () => (await client.ReadConsole(machine, default)).Contains(line, StringComparison.Ordinal), $"the guest of {machine} prints '{line}'");

    public static async Task<ImageView> ImportGuest(this InstancesClient client, string name = "tiny-linux", EnterpriseId enterprise = default)
    {
        await using var file = File.OpenRead(await TestGuest.Path);
        var operation = await client.Succeeds(await client.ImportImage(name, ImageFormat.Qcow2, file, sha256: null, enterprise, default));
        return (await client.FindImage(operation.Image!.Value, default))!;
    }

    /// <summary>Waits until the guest has printed a count of boots that is high enough.</summary>
    public static async Task<int> WaitForBoot(this InstancesClient client, VirtualMachineId machine, int atLeast)
    {
        var boots = 0;
        await Eventually.Holds(async () =>
        {
            boots = await client.ReadBoots(machine, default);
            return boots >= atLeast;
        }, $"the guest of {machine} prints boots={atLeast}");
        return boots;
    }

    /// <summary>The newest count of starts that the guest has printed; 0 if there is none.</summary>
    public static async Task<int> ReadBoots(this InstancesClient client, VirtualMachineId machine, CancellationToken cancellationToken) =>
        BootsPattern().Matches(await client.ReadConsole(machine, cancellationToken)) is { Count: > 0 } counts
            ? int.Parse(counts[^1].Groups[1].ValueSpan, System.Globalization.CultureInfo.InvariantCulture)
            : 0;

    public static Task<OperationView> End(this InstancesClient client, OperationView operation) => client.WaitFor(operation, _ => { }, default);

    /// <exception cref="InvalidOperationException">It ended otherwise.</exception>
    public static async Task<OperationView> Succeeds(this InstancesClient client, OperationView operation)
    {
        var ended = await client.End(operation);
        return ended.Status is OperationStatus.Succeeded ? ended : throw new InvalidOperationException($"The operation ended as {ended.Status}: {ended.Fault}");
    }

    [GeneratedRegex(@"boots=(\d+)")]
    private static partial Regex BootsPattern();
}

using System.Text.RegularExpressions;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Testing;

/// <summary>The small guest of the tests, through the HTTP interface.</summary>
internal static partial class Guest
{
    public const long MemoryBytes = 160L << 20;

    public static VirtualMachineSpec Spec(string name, ImageId image, params long[] dataDisks) => new(name, image, MemoryBytes: MemoryBytes, DataDisks: dataDisks);

    public static async Task<ImageView> ImportGuest(this InstancesClient client, string name = "tiny-linux")
    {
        await using var file = File.OpenRead(await TestGuest.Path);
        var operation = await client.Succeeds(await client.ImportImage(name, ImageFormat.Qcow2, file, sha256: null, default));
        return (await client.FindImage(operation.Image!.Value, default))!;
    }

    /// <summary>Waits until the guest has printed a count of boots that is high enough.</summary>
    public static async Task<int> WaitForBoot(this InstancesClient client, VirtualMachineId machine, int atLeast)
    {
        var boots = 0;
        await Eventually.Holds(async () =>
        {
            var counts = BootsPattern().Matches(await client.ReadConsole(machine, default));
            boots = counts.Count == 0 ? 0 : int.Parse(counts[^1].Groups[1].ValueSpan, System.Globalization.CultureInfo.InvariantCulture);
            return boots >= atLeast;
        }, $"the guest of {machine} prints boots={atLeast}");
        return boots;
    }

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

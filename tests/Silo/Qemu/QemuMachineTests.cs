using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

public sealed class QemuMachineTests
{
    [Fact]
    public async Task Start_Guest_BootsAndAnswers()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.Spec("web-1", dataDisks: 1, ports: [new(80)]);
        var started = System.Diagnostics.Stopwatch.StartNew();
        var observation = await lab.Driver.Start(spec, TestContext.Current.CancellationToken);
        Console.WriteLine($"start {started.ElapsedMilliseconds} ms");
        Assert.Equal(VirtualMachineStatus.Running, observation.Status);
        await lab.Printed(spec.Id, "boots=1");
        Console.WriteLine($"boots {started.ElapsedMilliseconds} ms");
        await lab.Printed(spec.Id, "host=web-1");
        await lab.Capture(spec.Id, Instances.Appliances.Quiesce.Freeze);
    }
}

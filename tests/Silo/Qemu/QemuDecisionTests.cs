using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

public sealed class QemuDecisionTests
{
    public static TheoryData<VirtualMachineStatus, PowerAction> Every =>
        [.. Enum.GetValues<VirtualMachineStatus>().SelectMany(status => Enum.GetValues<PowerAction>().Select(action => (status, action)))];

    [Theory]
    [MemberData(nameof(Every))]
    public void Decide_EveryStatusAndAction_IsDecided(VirtualMachineStatus status, PowerAction action)
    {
        var decision = PowerDecision.Decide(status, action);
        if (decision is PowerDecision.Refuse refusal) Assert.Contains(": ", refusal.Reason, StringComparison.Ordinal);
        var isDeployed = status is VirtualMachineStatus.Running or VirtualMachineStatus.Paused or VirtualMachineStatus.Stopped;
        if (!isDeployed) Assert.IsType<PowerDecision.Refuse>(decision);
    }

    [Theory]
    [InlineData("flags\t\t: fpu vmx sse", true, Accelerator.Kvm)]
    [InlineData("flags\t\t: fpu svm sse", true, Accelerator.Kvm)]
    [InlineData("flags\t\t: fpu sse", true, Accelerator.Tcg)]
    [InlineData("flags\t\t: fpu vmx", false, Accelerator.Tcg)]
    public void Detect_DeviceAndFlag_BothAreNeeded(string flags, bool hasDevice, string expected)
    {
        var folder = Directory.CreateTempSubdirectory("accelerator-");
        try
        {
            var (device, info) = (Path.Combine(folder.FullName, "kvm"), Path.Combine(folder.FullName, "cpuinfo"));
            if (hasDevice) File.WriteAllText(device, "");
            File.WriteAllText(info, $"processor\t: 0\n{flags}\n");
            Assert.Equal(expected, Accelerator.Detect(AcceleratorChoice.Auto, device, info));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}

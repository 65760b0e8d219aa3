using Instances.Hosts;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

public sealed class HostOptionsTests
{
    private const long Gibibyte = 1L << 30;

    [Theory]
    [InlineData(2 * Gibibyte, 2 * Gibibyte * 3 / 4)]
    [InlineData(16 * Gibibyte, 14 * Gibibyte)]
    [InlineData(256 * Gibibyte, 239 * Gibibyte)]
    public void MemoryForMachines_WithoutConfiguration_LeavesTheHostAShareThatGrows(long host, long forMachines) =>
        Assert.Equal(forMachines, new HostOptions().MemoryForMachines(host));

    [Fact]
    public void MemoryForMachines_AsConfigured()
    {
        Assert.Equal(5, new HostOptions { MemoryBytes = 5 }.MemoryForMachines(Gibibyte));
        Assert.Equal(Gibibyte - 7, new HostOptions { ReservedMemoryBytes = 7 }.MemoryForMachines(Gibibyte));
        Assert.Equal(0, new HostOptions { ReservedMemoryBytes = 2 * Gibibyte }.MemoryForMachines(Gibibyte));
    }
}

using System.Net;
using Orleans.Runtime;
using Xunit;

namespace Instances.Hosting;

public sealed class HostNameGuardTests
{
    private static readonly SiloAddress Self = Address(port: 11111, generation: 100);

    [Theory]
    [InlineData("host-1", 22222, 50, SiloStatus.Active, true)]
    [InlineData("host-1", 22222, 200, SiloStatus.Active, true)]
    [InlineData("host-1", 22222, 50, SiloStatus.ShuttingDown, true)]
    [InlineData("host-1", 22222, 50, SiloStatus.Dead, false)]
    [InlineData("host-2", 22222, 50, SiloStatus.Active, false)]
    // An earlier process of the same silo.
    [InlineData("host-1", 11111, 50, SiloStatus.Active, false)]
    // Of two that start at once only the later one is refused.
    [InlineData("host-1", 22222, 50, SiloStatus.Joining, true)]
    [InlineData("host-1", 22222, 200, SiloStatus.Joining, false)]
    public void IsHolder_OfAMember_IsWhetherItHasTheName(string name, int port, int generation, SiloStatus status, bool isHolder) =>
        Assert.Equal(isHolder, HostNameGuard.IsHolder(new() { SiloName = name, SiloAddress = Address(port, generation), Status = status }, "host-1", Self));

    private static SiloAddress Address(int port, int generation) => SiloAddress.New(new IPEndPoint(IPAddress.Loopback, port), generation);
}

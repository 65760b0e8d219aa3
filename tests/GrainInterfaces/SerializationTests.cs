using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Xunit;

namespace Instances;

public sealed class SerializationTests
{
    private static readonly Serializer Serializer =
        new ServiceCollection().AddSerializer().BuildServiceProvider().GetRequiredService<Serializer>();

    public static TheoryData<FaultKind> Kinds => [.. Enum.GetValues<FaultKind>()];

    [Theory, MemberData(nameof(Kinds))]
    public void FaultException_AcrossACall_KeepsItsFaultAndMessage(FaultKind kind)
    {
        var fault = new Fault(kind, "some-code", "What was found, and what to do.");

        var arrived = Assert.IsType<FaultException>(RoundTrip<Exception>(new FaultException(fault)));

        Assert.Equal(fault, arrived.Fault);
        Assert.Equal(fault.Message, arrived.Message);
    }

    [Fact]
    public void FaultException_WithACause_Arrives()
    {
        var arrived = Assert.IsType<FaultException>(RoundTrip<Exception>(
            FaultException.Unavailable("host-unavailable", "The host is away.", new InvalidOperationException("why"))));

        Assert.Equal("host-unavailable", arrived.Fault.Code);
    }

    [Fact]
    public void Command_AcrossACall_Arrives()
    {
        var command = new CreateInstanceCommand([VirtualMachineId.New()], UpdateImages: true, Quiesce.Shutdown, Undeploy: false);

        var arrived = RoundTrip(command);

        Assert.Equal(command.VirtualMachines, arrived.VirtualMachines);
        Assert.Equal(command with { VirtualMachines = null }, arrived with { VirtualMachines = null });
    }

    [Fact]
    public void Ticket_AcrossACall_Arrives()
    {
        var ticket = new UploadTicket(new Uri("http://127.0.0.1:8080/data/images/1"), "secret");

        Assert.Equal(ticket, RoundTrip(ticket));
    }

    private static T RoundTrip<T>(T value) => Serializer.Deserialize<T>(Serializer.SerializeToArray(value))!;
}

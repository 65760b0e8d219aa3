using System.Buffers;
using System.Data.Common;
using System.Diagnostics.CodeAnalysis;
using Instances.Faults;
using Orleans.Serialization.Buffers;
using Orleans.Serialization.Codecs;
using Orleans.Serialization.Serializers;
using Orleans.Serialization.WireProtocol;

namespace Instances.Storage;

/// <summary>Sends what a database driver throws to other processes as the fault that it is to them: they may lack the driver, and Orleans sends only what it knows.</summary>
/// <remarks>Grains throw faults by themselves. This is for what the runtime throws in their stead: a grain that could not read its state, a reminder that could not be written.</remarks>
internal sealed class DriverExceptionCodec : IGeneralizedCodec
{
    public bool IsSupportedType(Type type) => typeof(DbException).IsAssignableFrom(type);

    public void WriteField<TBufferWriter>(ref Writer<TBufferWriter> writer, uint fieldIdDelta, [AllowNull] Type expectedType, [AllowNull] object? value)
        where TBufferWriter : IBufferWriter<byte>
    {
        writer.Session.CodecProvider.GetCodec(typeof(FaultException)).WriteField(ref writer, fieldIdDelta, expectedType, DatabaseFaults.ToFault((DbException)value!));
    }

    /// <summary>Never called: what is written is another type.</summary>
    public object ReadValue<TInput>(ref Reader<TInput> reader, Field field) => throw new NotSupportedException();
}

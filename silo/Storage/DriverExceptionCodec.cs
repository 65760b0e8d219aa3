using System.Buffers;
using System.Data.Common;
using System.Diagnostics.CodeAnalysis;
using Instances.Faults;
using Orleans.Serialization.Buffers;
using Orleans.Serialization.Codecs;
using Orleans.Serialization.Serializers;
using Orleans.Serialization.WireProtocol;

namespace Instances.Storage;

/// <summary>Serializes exceptions of a database driver as faults: other processes may not have the driver, and Orleans serializes only types that it knows.</summary>
/// <remarks>Grains throw faults themselves. This is for exceptions of the runtime: a grain that could not read its state, or a reminder that could not be written.</remarks>
internal sealed class DriverExceptionCodec : IGeneralizedCodec
{
    public bool IsSupportedType(Type type) => typeof(DbException).IsAssignableFrom(type);

    public void WriteField<TBufferWriter>(ref Writer<TBufferWriter> writer, uint fieldIdDelta, [AllowNull] Type expectedType, [AllowNull] object? value)
        where TBufferWriter : IBufferWriter<byte>
    {
        writer.Session.CodecProvider.GetCodec(typeof(FaultException)).WriteField(ref writer, fieldIdDelta, expectedType, DatabaseFaults.ToFault((DbException)value!));
    }

    /// <summary>Never called, because another type is written.</summary>
    public object ReadValue<TInput>(ref Reader<TInput> reader, Field field) => throw new NotSupportedException();
}

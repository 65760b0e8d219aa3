namespace Instances.Library;

/// <summary>The progress of transfers into a store. The caller polls until they are done. A transfer that is not polled for a minute ends.</summary>
/// <param name="BytesDone">The part of <paramref name="BytesTotal"/> that the store already had, or that has arrived.</param>
/// <param name="BytesTotal">Space that the layers take, as far as it is known.</param>
/// <param name="BytesPerSecond">The current rate; 0 if nothing needs to be moved.</param>
/// <param name="IsDone">Every layer is in the store, sealed and durable.</param>
/// <param name="Layers">One for each requested layer, in that order.</param>
[GenerateSerializer, Immutable, Alias("instances.TransferProgress")]
public sealed record TransferProgress(
    [property: Id(0)] long BytesDone,
    [property: Id(1)] long BytesTotal,
    [property: Id(2)] long BytesPerSecond,
    [property: Id(3)] bool IsDone,
    [property: Id(4)] IReadOnlyList<LayerTransfer> Layers);

/// <param name="Bytes">Space that the layer takes in the store; 0 until the store has it.</param>
/// <param name="BytesMoved">Bytes that were read and written for it so far: 0 if the store already had the layer, or it was linked or cloned.</param>
/// <param name="Sha256">Of the file, in lower case hex; null if the transfer did not compute it.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerTransfer")]
public sealed record LayerTransfer(
    [property: Id(0)] LayerId Id,
    [property: Id(1)] long Bytes,
    [property: Id(2)] long BytesMoved,
    [property: Id(3)] string? Sha256);

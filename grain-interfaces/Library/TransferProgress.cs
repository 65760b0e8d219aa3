namespace Instances.Library;

/// <summary>How far layers have come on their way into a store. Asked for again and again until it is done: a transfer that nobody asks about for a minute ends.</summary>
/// <param name="BytesDone">Of <paramref name="BytesTotal"/>: what was there before, and what has come.</param>
/// <param name="BytesTotal">Space that the layers take, as far as it is known.</param>
/// <param name="BytesPerSecond">At the moment; 0 if nothing needs to be moved.</param>
/// <param name="IsDone">Every layer is in the store, sealed and durable.</param>
/// <param name="Layers">One for each layer that was asked for, in that order.</param>
[GenerateSerializer, Immutable, Alias("instances.TransferProgress")]
public sealed record TransferProgress(
    [property: Id(0)] long BytesDone,
    [property: Id(1)] long BytesTotal,
    [property: Id(2)] long BytesPerSecond,
    [property: Id(3)] bool IsDone,
    [property: Id(4)] IReadOnlyList<LayerTransfer> Layers);

/// <param name="Bytes">Space that the layer takes in the store; 0 while it is not there.</param>
/// <param name="BytesMoved">What was read and written for it so far: 0 for a layer that was there, or was linked or cloned.</param>
/// <param name="Sha256">Of the file, in lower case hex; null if it was not computed on the way.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerTransfer")]
public sealed record LayerTransfer(
    [property: Id(0)] LayerId Id,
    [property: Id(1)] long Bytes,
    [property: Id(2)] long BytesMoved,
    [property: Id(3)] string? Sha256);

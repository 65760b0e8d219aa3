namespace Instances.Library;

/// <summary>How large a file is.</summary>
/// <param name="Bytes">Its length.</param>
/// <param name="SpaceBytes">The space that it takes on its disk: less than its length if it has holes. A copy needs no more.</param>
[GenerateSerializer, Immutable, Alias("instances.MeasuredFile")]
public sealed record MeasuredFile([property: Id(0)] long Bytes, [property: Id(1)] long SpaceBytes);

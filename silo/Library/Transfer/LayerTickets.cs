namespace Instances.Library.Transfer;

/// <summary>Tickets to read one layer.</summary>
internal sealed class LayerTickets(TimeProvider time) : Tickets<LayerId>(time);

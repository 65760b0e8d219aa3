namespace Instances.Library.Transfer;

/// <summary>For reading one layer.</summary>
internal sealed class LayerTickets(TimeProvider time) : Tickets<LayerId>(time);

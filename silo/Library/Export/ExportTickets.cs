using Instances.Library.Transfer;

namespace Instances.Library.Export;

/// <summary>Tickets to export one image.</summary>
internal sealed class ExportTickets(TimeProvider time) : Tickets<ImageId>(time);

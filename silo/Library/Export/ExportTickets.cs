using Instances.Library.Transfer;

namespace Instances.Library.Export;

/// <summary>For exporting one image.</summary>
internal sealed class ExportTickets(TimeProvider time) : Tickets<ImageId>(time);

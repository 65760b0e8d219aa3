using Instances.Faults;

namespace Instances.Library.Import;

/// <summary>Asks the owner of an import whether the disk fits the quotas of its enterprise, as soon as the size is known and before the conversion.</summary>
/// <exception cref="FaultException">quota-virtual-bytes.</exception>
/// <exception cref="ImportCancelledException">The owner has cancelled the import.</exception>
internal delegate Task DiskAdmission(long virtualSizeBytes);

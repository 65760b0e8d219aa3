using Instances.Faults;

namespace Instances.Library.Import;

/// <summary>Asks the owner of an import whether its enterprise has room for the disk, as soon as its size is known and before anything is made of it.</summary>
/// <exception cref="FaultException">quota-virtual-bytes.</exception>
/// <exception cref="ImportCancelledException">The owner says so.</exception>
internal delegate Task DiskAdmission(long virtualSizeBytes);

namespace Instances.Library.Import;

/// <summary>Reports the progress of an import to its owner.</summary>
/// <returns>False when the import was cancelled.</returns>
internal delegate Task<bool> ProgressReport(ImportStage stage, long bytes);

/// <summary>The owner has cancelled the import: there is nothing to report, and no files may be left.</summary>
internal sealed class ImportCancelledException() : OperationCanceledException("The import was cancelled.");

namespace Instances.Library.Import;

/// <summary>Tells the owner of an import how far it is.</summary>
/// <returns>False when the import was cancelled.</returns>
internal delegate Task<bool> ProgressReport(ImportStage stage, long bytes);

/// <summary>The import was cancelled by its owner: there is nobody to tell, and nothing may be left behind.</summary>
internal sealed class ImportCancelledException() : OperationCanceledException("The import was cancelled.");

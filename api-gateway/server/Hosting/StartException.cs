namespace Instances.Hosting;

/// <summary>Why this process cannot start, in a sentence for the operator.</summary>
internal class StartException(string message, Exception? cause = null) : Exception(message, cause);

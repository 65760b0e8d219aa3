using Instances.Hosting;

namespace Instances.Storage;

internal sealed class MigrationException(string message, Exception? cause = null) : StartException(message, cause);

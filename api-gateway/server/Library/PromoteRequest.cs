using System.ComponentModel;

namespace Instances.Library;

internal sealed record PromoteRequest([property: Description("1 to 128 characters. Without it the master has the slave's name.")] string? Name = null);

using Instances.Library.Import;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Instances.Library;

internal static class LibraryServices
{
    /// <summary>The layer store in a folder of this host, and the imports into it. Sections <c>LayerStore</c> and <c>Import</c>.</summary>
    public static IServiceCollection AddLibrary(this IServiceCollection services)
    {
        services.AddOptions<LayerStoreOptions>().BindConfiguration("LayerStore").ValidateDataAnnotations().ValidateOnStart();
        services.AddOptions<ImportOptions>().BindConfiguration("Import").ValidateDataAnnotations().ValidateOnStart();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<ProcessConfinement>();
        services.AddSingleton<QemuImg>();
        services.AddSingleton<FolderLayerStore>();
        services.AddSingleton<ILayerStore>(provider => provider.GetRequiredService<FolderLayerStore>());
        services.AddSingleton<ImageReceiver>();
        services.AddSingleton<ImageConverter>();
        services.AddSingleton<ImportQueue>();
        services.AddHostedService(provider => provider.GetRequiredService<ImportQueue>());
        return services;
    }
}

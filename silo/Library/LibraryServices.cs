using Instances.Library.Export;
using Instances.Library.Import;
using Instances.Library.Transfer;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Instances.Library;

internal static class LibraryServices
{
    /// <summary>The library in a folder, the imports into it and the exports from it. Sections <c>Library</c>, <c>LayerStore</c>, <c>Import</c> and <c>Export</c>.</summary>
    public static IServiceCollection AddLibrary(this IServiceCollection services)
    {
        services.AddLayers();
        services.AddOptions<LibraryOptions>().BindConfiguration("Library").ValidateDataAnnotations().ValidateOnStart();
        services.AddOptions<ImportOptions>().BindConfiguration("Import").ValidateDataAnnotations().ValidateOnStart();
        services.AddSingleton(provider => ActivatorUtilities.CreateInstance<FolderLibraryStore>(
            provider, provider.GetRequiredService<IOptions<LibraryOptions>>().Value.Folder is { Length: > 0 } folder ? folder : LayersOf(provider).Folder, LayersOf(provider)));
        services.AddSingleton<ILibraryStore>(provider => provider.GetRequiredService<FolderLibraryStore>());
        services.AddSingleton<ILibraryPeers, LibraryPeers>();
        services.AddSingleton<ImageReceiver>();
        services.AddSingleton<Decompressor>();
        services.AddSingleton<ImageConverter>();
        services.AddSingleton<UploadParts>();
        services.AddSingleton<ImportFolders>();
        services.AddSingleton<ImportIntake>();
        services.AddSingleton<IImports>(provider => provider.GetRequiredService<ImportIntake>());
        services.AddSingleton<ImportPlaces>();
        services.AddSingleton<ImportQueue>();
        services.AddHostedService(provider => provider.GetRequiredService<ImportQueue>());
        services.AddHostedService(provider => provider.GetRequiredService<ImportIntake>());
        services.AddOptions<ExportOptions>().BindConfiguration("Export").ValidateDataAnnotations().ValidateOnStart();
        services.AddSingleton<ExportCompressor>();
        services.AddSingleton<ImageExporter>();
        return services;
    }

    /// <summary>The layers of this host. If its folder is that of the library in the same process, both are one store. Section <c>LayerStore</c>.</summary>
    public static IServiceCollection AddHostLayers(this IServiceCollection services)
    {
        services.AddLayers();
        return services.AddSingleton<ILayerStore>(provider =>
        {
            var own = ActivatorUtilities.CreateInstance<FolderLayerStore>(provider, LayersOf(provider).Folder, LayersOf(provider));
            return provider.GetService<FolderLibraryStore>() is { } library && library.Id == own.Id ? library : own;
        });
    }

    private static void AddLayers(this IServiceCollection services)
    {
        services.AddOptions<LayerStoreOptions>().BindConfiguration("LayerStore").ValidateDataAnnotations().ValidateOnStart();
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<ProcessConfinement>();
        services.TryAddSingleton<QemuImg>();
        services.TryAddSingleton<LayerTickets>();
        services.TryAddSingleton<LayerDigests>();
        services.TryAddSingleton<LayerClient>();
        services.TryAddSingleton<LayerTransfers>();
    }

    private static LayerStoreOptions LayersOf(IServiceProvider provider) => provider.GetRequiredService<IOptions<LayerStoreOptions>>().Value;
}

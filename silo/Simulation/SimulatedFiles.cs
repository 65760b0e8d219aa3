using System.Collections.Concurrent;
using System.Text.Json;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;

namespace Instances.Simulation;

/// <summary>The machines of a simulated host as files, one for each: they run on while the silo's process is gone.</summary>
/// <remarks>They survive the process, not the machine that it runs on: nothing is flushed.</remarks>
internal sealed class SimulatedFiles
{
    private readonly Lock _lock = new();
    private readonly string _folder;

    public SimulatedFiles(IOptions<SimulationOptions> options) => _folder = Directory.CreateDirectory(options.Value.Folder).FullName;

    /// <summary>Every machine that has a file.</summary>
    /// <exception cref="JsonException">A file is damaged.</exception>
    public IReadOnlyList<SimulatedMachine> Read()
    {
        lock (_lock)
        {
            return [.. Directory.EnumerateFiles(_folder, "*.json").Select(path => JsonSerializer.Deserialize<SimulatedMachine>(File.ReadAllBytes(path), InstancesJson.Options)!)];
        }
    }

    /// <summary>Makes the machine's file say what the machine is by now; without a machine there is no file. A reader sees the former file or this one.</summary>
    public void Keep(VirtualMachineId id, ConcurrentDictionary<VirtualMachineId, SimulatedMachine> machines)
    {
        var path = Path.Combine(_folder, $"{id}.json");
        lock (_lock)
        {
            if (machines.TryGetValue(id, out var machine))
            {
                File.WriteAllBytes($"{path}.new", JsonSerializer.SerializeToUtf8Bytes(machine, InstancesJson.Options));
                File.Move($"{path}.new", path, overwrite: true);
            }
            else
            {
                File.Delete(path);
            }
        }
    }
}

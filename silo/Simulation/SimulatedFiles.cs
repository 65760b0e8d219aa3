using System.Collections.Concurrent;
using System.Text.Json;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;

namespace Instances.Simulation;

/// <summary>The machines of a simulated host as files, one for each, so that they survive the silo's process.</summary>
/// <remarks>They survive the process, but not a crash of its machine: nothing is flushed.</remarks>
internal sealed class SimulatedFiles
{
    private readonly Lock _lock = new();
    private readonly string _folder;

    public SimulatedFiles(IOptions<SimulationOptions> options) => _folder = Directory.CreateDirectory(options.Value.Folder).FullName;

    public HostBinding? ReadBinding() =>
        File.Exists(BindingPath) ? JsonSerializer.Deserialize<HostBinding>(File.ReadAllBytes(BindingPath), InstancesJson.Options) : null;

    public void WriteBinding(HostBinding binding)
    {
        Write(BindingPath, binding);
    }

    private string BindingPath => Path.Combine(_folder, "host.binding");

    /// <summary>Every machine that has a file.</summary>
    /// <exception cref="JsonException">A file is damaged.</exception>
    public IReadOnlyList<SimulatedMachine> Read()
    {
        lock (_lock)
        {
            return [.. Directory.EnumerateFiles(_folder, "*.json").Select(path => JsonSerializer.Deserialize<SimulatedMachine>(File.ReadAllBytes(path), InstancesJson.Options)!)];
        }
    }

    /// <summary>Writes the machine's current state to its file, or deletes the file without a machine. Atomic: a reader sees the old file or the new one.</summary>
    /// <exception cref="FaultException">no-space: the call can be repeated when there is space.</exception>
    public void Keep(VirtualMachineId id, ConcurrentDictionary<VirtualMachineId, SimulatedMachine> machines)
    {
        var path = Path.Combine(_folder, $"{id}.json");
        lock (_lock)
        {
            if (machines.TryGetValue(id, out var machine))
            {
                Write(path, machine);
            }
            else
            {
                File.Delete(path);
            }
        }
    }

    private void Write<T>(string path, T value)
    {
        try
        {
            File.WriteAllBytes($"{path}.new", JsonSerializer.SerializeToUtf8Bytes(value, InstancesJson.Options));
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            throw FaultException.Capacity("no-space", $"The disk of the simulated machines ({_folder}) is full. Give it more space.");
        }

        File.Move($"{path}.new", path, overwrite: true);
    }
}

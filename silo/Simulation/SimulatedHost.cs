using System.Collections.Concurrent;
using System.Text.Json.Serialization;
using System.Threading.Channels;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Simulation;

/// <summary>The calls of a hypervisor that a test can slow down, fail or hold.</summary>
internal enum SimulatedCall
{
    Adopt,
    Start,
    Remove,
    Power,
    AddNextLayers,
    RemoveNextLayers,
    SyncTops,
    Quiesce,
    Unquiesce,
    Pause,
    Resume,
    Seal,
    EndHold,
    ReplaceLayers,
    CanReplaceLayers,
}

/// <summary>A host that runs no machines, for tests of scale and of failures. Its machines outlive the silo, as those of QEMU do.</summary>
/// <param name="files">The files in which its machines also survive the process; null if they are in memory only.</param>
internal sealed class SimulatedHost(TimeProvider time, SimulatedFiles? files = null)
{
    private const int ChangesBound = 10_000;
    private const int JournalBound = 100_000;

    private readonly ConcurrentDictionary<SimulatedCall, Control> _controls = new();

    public ConcurrentDictionary<VirtualMachineId, SimulatedMachine> Machines { get; } = new();

    /// <summary>The database that the machines belong to.</summary>
    public HostBinding? Binding
    {
        get => files is null ? field : files.ReadBinding();
        set
        {
            field = value;
            files?.WriteBinding(value!);
        }
    }

    /// <summary>Folders and processes without a machine.</summary>
    public ConcurrentDictionary<VirtualMachineId, MachineLeftover> Leftovers { get; } = new();

    /// <summary>False: its machines were started by an earlier release.</summary>
    public bool CanReplaceLayers { get; set; } = true;

    public Channel<MachineObservation> Changes { get; private set; } = NewChanges();

    /// <summary>The last calls that were carried out, in order.</summary>
    public ConcurrentQueue<(SimulatedCall Call, VirtualMachineId Machine)> Journal { get; } = new();

    /// <summary>The next calls of this kind fail, and change nothing.</summary>
    /// <param name="machine">Only calls on this machine fail; null for all machines.</param>
    public void FailNext(SimulatedCall call, int times = 1, VirtualMachineId? machine = null) => (ControlOf(call).FailingMachine, ControlOf(call).Failures) = (machine, times);

    /// <summary>The next call of this kind throws this, and changes nothing.</summary>
    public void ThrowNext(SimulatedCall call, Exception exception) => ControlOf(call).Exception = exception;

    /// <summary>Calls of this kind are carried out, but their answers are lost: they fail afterwards.</summary>
    public void LoseNextAnswer(SimulatedCall call) => ControlOf(call).LostAnswers = 1;

    /// <summary>Calls of this kind wait until <see cref="Release"/>.</summary>
    /// <param name="isDeaf">They cannot be cancelled while they wait.</param>
    /// <param name="machine">Only calls on this machine wait; null for all machines.</param>
    /// <returns>Completes when the first call waits.</returns>
    public Task HoldNext(SimulatedCall call, bool isDeaf = false, VirtualMachineId? machine = null)
    {
        var control = ControlOf(call);
        (control.IsDeaf, control.WaitingMachine) = (isDeaf, machine);
        control.Gate = new(TaskCreationOptions.RunContinuationsAsynchronously);
        control.Arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
        return control.Arrived.Task;
    }

    public void Release(SimulatedCall call) => ControlOf(call).Gate?.TrySetResult();

    /// <summary>The largest number of calls of this kind that were under way at once.</summary>
    public int MostAtOnce(SimulatedCall call) => ControlOf(call).MostAtOnce;

    /// <summary>Ends all waits, failures and losses of answers. Machines stay.</summary>
    public void Reset()
    {
        foreach (var control in _controls.Values) control.Gate?.TrySetResult();
        _controls.Clear();
        CanReplaceLayers = true;
        Journal.Clear();
    }

    /// <summary>The silo on this host has died: its calls that wait never continue, and changes are for the next silo.</summary>
    public void LoseSilo()
    {
        _controls.Clear();
        Changes = NewChanges();
    }

    public void SetLatency(SimulatedCall call, TimeSpan latency) => ControlOf(call).Latency = latency;

    /// <summary>A guest powers itself off.</summary>
    public void GuestPowersOff(VirtualMachineId machine) => Stop(machine, StopReason.Guest);

    /// <summary>A machine ends without a request.</summary>
    public void Dies(VirtualMachineId machine) => Stop(machine, StopReason.Died);

    /// <summary>The host is restarted, while its silo is unreachable: nothing runs any more, and all machines are still there.</summary>
    public void Reboot()
    {
        foreach (var machine in Machines.Values.Where(machine => machine.Status is not VirtualMachineStatus.Stopped))
        {
            (machine.Status, machine.StopReason) = (VirtualMachineStatus.Stopped, StopReason.Died);
            files?.Keep(machine.Spec.Id, Machines);
        }
    }

    /// <summary>A machine's disk cannot be written, and it is paused.</summary>
    /// <param name="mayWorkAgain">Whether the machine can be resumed.</param>
    public void DiskFails(VirtualMachineId machine, string trouble, bool mayWorkAgain = false)
    {
        (Machines[machine].Status, Machines[machine].Trouble, Machines[machine].AwaitsDisk) = (VirtualMachineStatus.Paused, trouble, mayWorkAgain);
        files?.Keep(machine, Machines);
        Changes.Writer.TryWrite(Machines[machine].Observe());
    }

    /// <summary>A machine is paused without a current request, as by a late command.</summary>
    public void PausesLate(VirtualMachineId machine)
    {
        Machines[machine].Status = VirtualMachineStatus.Paused;
        files?.Keep(machine, Machines);
        Changes.Writer.TryWrite(Machines[machine].Observe());
    }

    /// <summary>Loads the machines of an earlier process.</summary>
    public void Load()
    {
        foreach (var machine in files?.Read() ?? []) Machines.TryAdd(machine.Spec.Id, machine);
    }

    public async Task Call(SimulatedCall call, VirtualMachineId machine, Action action, CancellationToken cancellationToken = default)
    {
        var control = ControlOf(call);
        using var underWay = control.Enter();
        if ((control.WaitingMachine ?? machine) == machine)
        {
            control.Arrived?.TrySetResult();
            if (control.Gate is { } gate) await gate.Task.WaitAsync(control.IsDeaf ? CancellationToken.None : cancellationToken);
        }

        if (control.Latency > TimeSpan.Zero) await Task.Delay(control.Latency, time, cancellationToken);
        if (control.TakeException() is { } exception) throw exception;
        if (control.TakeFailure(machine)) throw Failed(call);
        action();
        files?.Keep(machine, Machines);
        Journal.Enqueue((call, machine));
        if (Journal.Count > JournalBound) Journal.TryDequeue(out _);
        if (control.TakeLostAnswer()) throw Failed(call);
    }

    private void Stop(VirtualMachineId machine, StopReason reason)
    {
        (Machines[machine].Status, Machines[machine].StopReason) = (VirtualMachineStatus.Stopped, reason);
        files?.Keep(machine, Machines);
        Changes.Writer.TryWrite(Machines[machine].Observe());
    }

    private static Channel<MachineObservation> NewChanges() => Channel.CreateBounded<MachineObservation>(ChangesBound);

    private static FaultException Failed(SimulatedCall call) =>
        FaultException.Unavailable("hypervisor-failed", $"The simulated hypervisor was told to fail at {call}.");

    private Control ControlOf(SimulatedCall call) => _controls.GetOrAdd(call, _ => new());

    private sealed class Control : IDisposable
    {
        private readonly Lock _lock = new();
        private Exception? _exception;
        private int _failures;
        private int _lostAnswers;
        private int _underWay;

        public int MostAtOnce { get; private set; }

        public int Failures
        {
            set => Volatile.Write(ref _failures, value);
        }

        public int LostAnswers
        {
            set => Volatile.Write(ref _lostAnswers, value);
        }

        public Exception? Exception
        {
            set => Volatile.Write(ref _exception, value);
        }

        public VirtualMachineId? FailingMachine { get; set; }

        public TimeSpan Latency { get; set; }

        public bool IsDeaf { get; set; }

        public VirtualMachineId? WaitingMachine { get; set; }

        public TaskCompletionSource? Gate { get; set; }

        public TaskCompletionSource? Arrived { get; set; }

        public IDisposable Enter()
        {
            lock (_lock) MostAtOnce = Math.Max(MostAtOnce, ++_underWay);
            return this;
        }

        public void Dispose()
        {
            lock (_lock) _underWay--;
        }

        public Exception? TakeException() => Interlocked.Exchange(ref _exception, null);

        public bool TakeFailure(VirtualMachineId machine) => (FailingMachine ?? machine) == machine && Interlocked.Decrement(ref _failures) >= 0;

        public bool TakeLostAnswer() => Interlocked.Decrement(ref _lostAnswers) >= 0;
    }
}

/// <summary>A machine of a simulated host, also the content of its file.</summary>
internal sealed class SimulatedMachine(MachineSpec spec)
{
    public MachineSpec Spec { get; set; } = spec;

    public VirtualMachineStatus Status { get; set; } = VirtualMachineStatus.Running;

    public IReadOnlyList<DiskChain> Disks { get; set; } = spec.Disks;

    public CaptureHold? Hold { get; set; }

    public IReadOnlyList<LayerId> NextLayers { get; set; } = [];

    /// <summary>Why it is Stopped, or was last.</summary>
    public StopReason StopReason { get; set; }

    public string? Trouble { get; set; }

    public bool AwaitsDisk { get; set; }

    public bool IsFrozen { get; set; }

    public bool WasPaused { get; set; }

    public bool WasShutDown { get; set; }

    [JsonIgnore]
    public bool IsSealed => NextLayers.Count > 0 && Disks[0].Layers[^1] == NextLayers[0];

    public MachineObservation Observe() => new(Spec.Id, Spec.Appliance, Status, Disks, Spec.PortForwards, Spec.MemoryBytes, Spec.Cpus, Hold, Spec.Deployment,
        Status is VirtualMachineStatus.Stopped ? StopReason : null, Trouble, AwaitsDisk && Status is VirtualMachineStatus.Paused);
}

using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>Checks from the console whether the guest boots.</summary>
internal sealed partial class QemuMachine
{
    /// <summary>A guest that prints nothing for this long gets a hint.</summary>
    private static readonly TimeSpan SilenceBound = TimeSpan.FromMinutes(2);

    /// <summary>When the guest started or was reset; null if the check is complete.</summary>
    private long? _bootingSince;
    private string? _hint;

    private void BeginBoot() => (_bootingSince, _hint) = (_host.Time.GetTimestamp(), null);

    /// <summary>Checks the console of a starting guest. Called regularly.</summary>
    public async Task LookAtBoot()
    {
        if (_bootingSince is not { } since || _status is not VirtualMachineStatus.Running) return;
        var boot = BootHint.Read(ConsoleTail.Read(_folder.ConsolePath, MaxLogBytes));
        if (boot is BootHint.Boot.Silent && _host.Time.GetElapsedTime(since) < SilenceBound) return;
        // A busy machine is checked the next time.
        if (!await _turn.WaitAsync(TimeSpan.Zero)) return;
        try
        {
            if (_bootingSince != since || _removed || BootHint.Describe(boot) is var hint && hint == _hint && boot is not BootHint.Boot.Booted) return;
            if (boot is BootHint.Boot.Booted) _bootingSince = null;
            if (hint == _hint) return;
            _hint = hint;
            Report();
        }
        finally
        {
            _turn.Release();
        }
    }
}

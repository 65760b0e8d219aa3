using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>Whether the guest boots, as far as its console shows it.</summary>
internal sealed partial class QemuMachine
{
    /// <summary>A guest that prints nothing for as long as this is reported.</summary>
    private static readonly TimeSpan SilenceBound = TimeSpan.FromMinutes(2);

    /// <summary>When the guest started, or was reset; null when there is nothing left to look at.</summary>
    private long? _bootingSince;
    private string? _hint;

    private void BeginBoot() => (_bootingSince, _hint) = (_host.Time.GetTimestamp(), null);

    /// <summary>Looks at the console of a guest that starts. Called now and then.</summary>
    public async Task LookAtBoot()
    {
        if (_bootingSince is not { } since || _status is not VirtualMachineStatus.Running) return;
        var boot = BootHint.Read(ConsoleTail.Read(_folder.ConsolePath, MaxLogBytes));
        if (boot is BootHint.Boot.Silent && _host.Time.GetElapsedTime(since) < SilenceBound) return;
        // A machine that is busy is looked at the next time.
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

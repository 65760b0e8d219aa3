using System.Globalization;
using Instances.Library;
using Microsoft.Extensions.Options;

namespace Instances.Qemu;

/// <summary>The users of this host's machines. Each machine has its own user from a range, from its deployment to its removal.</summary>
/// <remarks>
/// The owner of a machine's folder records its user. A user that owns a folder or a layer is not given to another machine. All users are in
/// the group that may read sealed layers.
/// </remarks>
internal sealed class QemuUsers
{
    private readonly Lock _turn = new();
    private readonly HashSet<uint> _taken = [];
    private readonly QemuIdentity? _only;
    private readonly uint _first;
    private readonly uint _count;
    private readonly uint _readers;
    private readonly uint? _kvmGroup;
    private uint _next;

    private QemuUsers(QemuIdentity only) => _only = only;

    private QemuUsers(QemuOptions options, uint readers, uint? kvmGroup) =>
        (_first, _count, _readers, _kvmGroup) = ((uint)options.FirstUid, (uint)options.Uids, readers, kvmGroup);

    /// <summary>All machines run as the silo's own user.</summary>
    public static QemuUsers SiloUser { get; } = new(QemuIdentity.SiloUser);

    /// <summary>The configured users, after a check that they can work.</summary>
    /// <param name="readers">The group that may read sealed layers.</param>
    /// <param name="folders">The folders of machines and layers.</param>
    /// <exception cref="OptionsValidationException">They cannot work. The message says what to do.</exception>
    public static async Task<QemuUsers> Find(QemuOptions options, uint readers, bool withKvm, IReadOnlyList<string> folders, CancellationToken cancellationToken)
    {
        var kvmGroup = withKvm ? KvmGroup(UnixFiles.Statistics(Accelerator.KvmDevice)) : null;
        QemuUsers users;
        if (options.RunAs.Length == 0)
        {
            RequireFree(options, File.ReadLines("/etc/passwd"), "/etc/passwd", isRange: false);
            if (File.Exists("/etc/subuid")) RequireFree(options, File.ReadLines("/etc/subuid"), "/etc/subuid", isRange: true);
            users = new(options, readers, kvmGroup);
        }
        else
        {
            var found = UnixUser.Find(options.RunAs) ?? throw Refusal($"the user '{options.RunAs}' of Qemu:RunAs does not exist. Create that user, or remove Qemu:RunAs.");
            users = new(new QemuIdentity(found with { GroupId = readers }, kvmGroup));
        }

        var one = users._only ?? users.Of(users._first);
        foreach (var folder in folders.SelectMany(WithParents).Distinct())
        {
            if (!await one.PassesThrough(folder, cancellationToken)) throw Refusal(Reason(one.User!.Value.UserId, folder));
        }

        return users;
    }

    /// <summary>Records the owners of the existing folders and layers.</summary>
    public void Note(IEnumerable<string> paths)
    {
        if (_only is not null) return;
        foreach (var path in paths)
        {
            if (OwnerOf(path) is { } owner && IsInRange(owner)) _taken.Add(owner);
        }
    }

    /// <summary>The user of a machine that an earlier silo has started: the owner of its folder.</summary>
    public QemuIdentity Of(RunFolder folder) =>
        _only is { User: null } || OwnerOf(folder.QemuPath) is not { } owner || owner == 0 ? _only ?? QemuIdentity.SiloUser : Of(owner);

    /// <summary>The user of a machine that is about to start. If it has none, or one that is no longer configured, it gets a new one, which then owns its folder.</summary>
    /// <exception cref="Faults.FaultException">All users are taken.</exception>
    public QemuIdentity Take(RunFolder folder)
    {
        if (_only is { User: null }) return _only;
        var owner = OwnerOf(folder.QemuPath);
        if (_only is { User: { } user })
        {
            if (owner != user.UserId) folder.Give(user);
            return _only;
        }

        if (owner is { } own && IsInRange(own)) return Of(own);
        var identity = Of(TakeFree());
        folder.Give(identity.User!.Value);
        return identity;
    }

    /// <summary>Deletes the folder of a removed machine. Its user owns nothing then, and is free for another machine.</summary>
    public void Delete(RunFolder folder, Func<LayerId, string> pathOf)
    {
        var owner = OwnerOf(folder.QemuPath);
        var isFree = folder.TakeLayersBack(pathOf);
        folder.Delete();
        // If layers of its user may be left, the next start of the silo checks their owners.
        if (owner is not { } user || !isFree) return;
        lock (_turn) _taken.Remove(user);
    }

    internal static uint? KvmGroup(FileStatistics device)
    {
        const UnixFileMode Everybody = UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        const UnixFileMode Group = UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
        if ((device.Mode & Everybody) == Everybody) return null;
        if (device.Group != 0 && (device.Mode & Group) == Group) return device.Group;
        throw new OptionsValidationException(QemuOptions.Section, typeof(QemuOptions),
        [
            $"QEMU would need the group of root to open {Accelerator.KvmDevice}. Give the device its own group (chgrp kvm {Accelerator.KvmDevice}; chmod 660 {Accelerator.KvmDevice}), "
                + "or let guests run under software emulation with Qemu:Accelerator=tcg.",
        ]);
    }

    private QemuIdentity Of(uint user) => new(new UnixUser(user, _only?.User?.GroupId ?? _readers), _kvmGroup ?? _only?.KvmGroup);

    private bool IsInRange(uint user) => user >= _first && user - _first < _count;

    private uint TakeFree()
    {
        lock (_turn)
        {
            // The user that was released the longest time ago.
            for (var tries = 0u; tries < _count; tries++)
            {
                var user = _first + _next;
                _next = (_next + 1) % _count;
                if (_taken.Add(user)) return user;
            }
        }

        throw QemuFaults.Failed($"All {_count} user ids from {_first} on are used by machines of this host. Raise {QemuOptions.Section}:{nameof(QemuOptions.Uids)}.");
    }

    private static uint? OwnerOf(string path)
    {
        try
        {
            return UnixFiles.Statistics(path).User;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static IEnumerable<string> WithParents(string folder) =>
        Path.GetDirectoryName(folder) is { } parent ? WithParents(parent).Append(folder) : [folder];

    /// <summary>Requires that no account of this host has one of the machines' user ids.</summary>
    internal static void RequireFree(QemuOptions options, IEnumerable<string> lines, string file, bool isRange)
    {
        foreach (var fields in lines.Select(line => line.Split(':')).Where(fields => fields.Length >= 3))
        {
            if (!long.TryParse(fields[isRange ? 1 : 2], CultureInfo.InvariantCulture, out var first)) continue;
            var count = isRange && long.TryParse(fields[2], CultureInfo.InvariantCulture, out var several) ? several : 1;
            if (first < (long)options.FirstUid + options.Uids && first + count > options.FirstUid)
                throw Refusal($"the user ids from {options.FirstUid} on are not free: '{fields[0]}' has some of them in {file}. Set {QemuOptions.Section}:{nameof(QemuOptions.FirstUid)}.");
        }
    }

    private static string Reason(uint user, string folder) => folder == "/"
        ? $"no program can be started as the user {user}. Install util-linux, and let the server keep CAP_SETUID, CAP_SETGID and CAP_SETPCAP."
        : $"the user {user} cannot pass through the folder {folder}. Run 'chmod o+x {folder}', or move the data to another place.";

    private static OptionsValidationException Refusal(string reason) =>
        new(QemuOptions.Section, typeof(QemuOptions), [$"QEMU would have to run as root: {reason} {QemuOptions.Section}:{nameof(QemuOptions.RunAs)}=root accepts the risk."]);
}

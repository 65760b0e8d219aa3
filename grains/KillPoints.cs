namespace Instances;

/// <summary>The places after durable steps where a test can kill this process, to check that the old or the new state is left.</summary>
/// <remarks>When off, a place costs one read of a static field. Only <c>Testing:KillFile</c> turns them on, and a silo refuses that outside the environment Testing.</remarks>
internal static class KillPoints
{
    /// <summary>All places, so that a test can try each of them, and misspelt names are found.</summary>
    public static readonly IReadOnlyList<string> All =
    [
        "manifest.unfinished",
        "import.begun", "import.received", "import.part-received", "import.whole", "import.disk-accepted", "import.checked", "import.converted", "import.installed", "import.manifest-written", "import.source-deleted", "import.recorded", "import.failed", "import.unpublished",
        "retire.marked", "retire.looked", "retire.slaves-marked",
        "restore.manifest-written", "restore.recorded",
        "collection.manifest-deleted", "collection.record-deleted", "collection.bound", "collection.check-deleted", "collection.layer-deleted",
        "scrub.check-unfinished", "scrub.check-written", "scrub.judged", "scrub.pulled", "scrub.replaced", "scrub.digest-recorded",
        "promote.checked", "promote.converted", "promote.installed", "promote.manifest-written",
        "compaction.planned", "compaction.referenced", "compaction.checked", "compaction.merged", "compaction.installed", "compaction.manifest-written", "compaction.switched", "compaction.recorded",
        "change.manifest-written",
        "rebuild.recorded", "rebuild.bound",
    ];

    private static Action<string>? s_reach;

    /// <param name="reach">Called with the name of each place that is reached.</param>
    public static void TurnOn(Action<string> reach) => s_reach = reach;

    public static void Reach(string point) => s_reach?.Invoke(point);
}

using System.CommandLine;
using Instances.Benchmarks;
using Spectre.Console;

var machines = new Option<int>("--machines") { Description = "Machines that are captured at one instant.", DefaultValueFactory = _ => 8 };
var rounds = new Option<int>("--rounds") { Description = "Captures of them.", DefaultValueFactory = _ => 10 };
var changes = new Option<int>("--changes") { Description = "MiB of changes on the 20 GiB disk of the capture that is compared with a copy.", DefaultValueFactory = _ => 256 };
var disk = new Option<int>("--import") { Description = "MiB of data in the qcow2 file whose import is compared with qemu-img convert.", DefaultValueFactory = _ => 2048 };
var export = new Option<int>("--export") { Description = "MiB of data on the disk whose export is compared with qemu-img convert.", DefaultValueFactory = _ => 1024 };
var merge = new Option<int>("--merge") { Description = "MiB of small writes in eight layers whose merge is compared with qemu-img rebase.", DefaultValueFactory = _ => 256 };
var stall = new Option<int>("--stall") { Description = "MiB that a guest has written, and the kernel not, when it is captured on a slow disk (needs root).", DefaultValueFactory = _ => 1024 };
var only = new Option<string[]>("--only") { Description = "Measure these alone.", AllowMultipleArgumentsPerToken = true };
only.AcceptOnlyFromAmong("window", "stall", "capture", "import", "depth", "export", "merge");
var command = new RootCommand("Measures captures of real machines, imports, exports, merges, and reads through chains, each with a reference in the same run.") { machines, rounds, changes, disk, export, merge, stall, only };
command.SetAction(async (result, _) =>
{
    var table = new Table().AddColumns("what", "measured", "against", "ratio, goal");
    (string Name, Func<Task> Measure)[] parts =
    [
        ("window", () => ConsistencyWindow.Measure(table, result.GetValue(machines), result.GetValue(rounds))),
        ("stall", () => GuestStall.Measure(table, result.GetValue(stall))),
        ("capture", () => CaptureAgainstCopy.Measure(table, result.GetValue(changes))),
        ("import", () => ImportAgainstConvert.Measure(table, result.GetValue(disk))),
        ("depth", () => ReadByDepth.Measure(table)),
        ("export", () => ExportAgainstConvert.Measure(table, result.GetValue(export))),
        ("merge", () => MergeAgainstRebase.Measure(table, result.GetValue(merge))),
    ];
    var wanted = result.GetValue(only) ?? [];
    foreach (var (_, measure) in parts.Where(part => wanted.Length == 0 || wanted.Contains(part.Name))) await measure();
    AnsiConsole.Write(table);
});
return await command.Parse(args).InvokeAsync();

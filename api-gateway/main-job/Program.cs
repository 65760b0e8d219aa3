using System.CommandLine;
using Instances.MainJob;
using Spectre.Console;

var url = new Option<Uri[]>("--url")
{
    Description = "The server's address; several times for several gateways, over which the requests are spread.",
    DefaultValueFactory = _ => [new Uri("http://127.0.0.1:8080")],
    CustomParser = result =>
    {
        foreach (var token in result.Tokens.Where(token => !IsAddress(token.Value))) result.AddError($"'{token.Value}' is not an http or https address.");
        return [.. result.Tokens.Where(token => IsAddress(token.Value)).Select(token => new Uri(token.Value))];
    },
};
var datacenter = new Option<string>("--datacenter") { Description = "The datacenter to work in.", DefaultValueFactory = _ => "local" };
var image = new Option<FileInfo>("--image")
{
    Description = "The guest to import: a disk image in qcow2 format where its name ends in .qcow2, raw otherwise. "
        + "It has to print boots=N on its serial console at its N-th start.",
    Required = true,
};
image.AcceptExistingOnly();
var json = new Option<bool>("--json")
{
    Description = "Write the result to standard output as one line of JSON, its last line; other output goes to standard error.",
};
var readySeconds = new Option<double?>("--ready-seconds")
{
    Description = "How long the server took to be ready, as the caller measured it: seconds.ready in the result.",
};

var root = new RootCommand(
    "Runs the main job of Instances through its HTTP interface: imports a guest, deploys an appliance of two machines, creates instances of them, "
    + "and checks at each step that what has to be kept is kept. Exits with 0 when everything was as expected, with 1 otherwise.")
{
    url, datacenter, image, json, readySeconds,
};

root.SetAction(async (arguments, cancellationToken) =>
{
    var output = arguments.GetValue(json) ? Console.Error : Console.Out;
    var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
    // A file or a pipe has no width to wrap at.
    if (!console.Profile.Out.IsTerminal) console.Profile.Width = int.MaxValue;
    var run = new JobRun(new Narrator(console), arguments.GetValue(readySeconds));
    var report = await run.Run(arguments.GetValue(url)!, arguments.GetValue(datacenter)!, arguments.GetValue(image)!, cancellationToken);
    if (arguments.GetValue(json)) Console.Out.WriteLine(report.ToJson());
    return report.Ok ? 0 : 1;
});

return await root.Parse(args).InvokeAsync();

static bool IsAddress(string text) => Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is ("http" or "https");

using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace Instances.MainJob;

/// <summary>Shows the steps of the job: live on a terminal, as plain lines elsewhere.</summary>
internal sealed class Narrator(IAnsiConsole console)
{
    /// <summary>Shows a step while it runs, and then its duration.</summary>
    /// <param name="step">Its argument reports the current activity.</param>
    public async Task Step(string title, Func<Action<string>, Task> step)
    {
        var started = Stopwatch.GetTimestamp();
        try
        {
            await Live(title, step);
        }
        catch
        {
            Line("[red]✗[/]", started, title);
            throw;
        }

        Line("[green]✓[/]", started, title);
    }

    public void Say(string text) => console.MarkupLineInterpolated($"{text}");

    public void Succeeded(string text) => console.MarkupLineInterpolated($"[green]{text}[/]");

    public void Failed(string text) => console.MarkupLineInterpolated($"[red]{text}[/]");

    private Task Live(string title, Func<Action<string>, Task> step) => console.Profile.Out.IsTerminal
        ? console.Status().StartAsync(Markup.Escape(title), context => step(activity => context.Status(Markup.Escape($"{title} – {activity}"))))
        : step(_ => { });

    private void Line(string mark, long started, string title)
    {
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture);
        console.MarkupLine($"{mark} {seconds,6} s  {Markup.Escape(title)}");
    }
}

using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace Instances.Hosting;

/// <summary>Prints errors that an operator can repair as sentences, all at once, without a stack trace.</summary>
internal static class StartErrors
{
    /// <summary>Builds the server, and runs it to its end.</summary>
    /// <returns>The exit code: 0, or 1 if the server could not start.</returns>
    public static int Run(Func<WebApplication> build)
    {
        try
        {
            var app = build();
            // Before services are created from the configuration, which would stop at the first error.
            app.Services.GetService<IAsyncStartupValidator>()?.ValidateAsync(CancellationToken.None).GetAwaiter().GetResult();
            app.Run();
            return 0;
        }
        catch (Exception exception) when (Sentences(exception).ToList() is { Count: > 0 } sentences)
        {
            Console.Error.WriteLine("The server cannot start:");
            foreach (var sentence in sentences) Console.Error.WriteLine($"- {sentence}");
            return 1;
        }
    }

    /// <returns>Nothing if the exception is a defect.</returns>
    internal static IEnumerable<string> Sentences(Exception exception) => exception switch
    {
        AggregateException several when several.InnerExceptions.All(inner => Sentences(inner).Any()) => several.InnerExceptions.SelectMany(Sentences),
        OptionsValidationException options => options.Failures,
        StartException start => [start.Message],
        InvalidOperationException { Source: "Microsoft.Extensions.Configuration.Binder" } binding => [Innermost(binding)],
        _ when TakenAddress(exception) => [$"An address to listen on is in use, or is not an address of this machine: {exception.Message}"],
        _ => [],
    };

    private static bool TakenAddress(Exception exception) =>
        exception is SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse or SocketError.AddressNotAvailable }
        || (exception.InnerException is { } inner && TakenAddress(inner));

    private static string Innermost(Exception exception) =>
        exception.InnerException?.InnerException is { } reason ? $"{exception.Message} {reason.Message}" : exception.Message;
}

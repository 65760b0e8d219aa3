using Xunit;

namespace Instances.Grains.Tests;

/// <summary>A lifecycle as a table: a row for each status, a column for each command.</summary>
/// <remarks>A cell is the next status, <c>ignore</c>, <c>defect</c>, or the code of the refusal.</remarks>
internal static class LifecycleTable
{
    private const string Defect = "lifecycle-defect";

    /// <summary>Every status with every command, and what is expected. A status or a command that is left out fails the test.</summary>
    /// <param name="tables">One table, or its parts side by side.</param>
    /// <param name="none">The name of the row for a missing grain.</param>
    public static TheoryData<string, string, string> Parse<TStatus, TCommand>(string[] tables, string? none = null)
        where TStatus : struct, Enum
        where TCommand : struct, Enum
    {
        string[] statuses = [.. Enum.GetNames<TStatus>(), .. none is null ? Array.Empty<string>() : [none]];
        var parts = tables.Select(table => table.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(Words).ToList()).ToList();
        Assert.Equal(Enum.GetNames<TCommand>().Order(), parts.SelectMany(part => part[0]).Order());

        var data = new TheoryData<string, string, string>();
        foreach (var part in parts)
        {
            Assert.Equal(statuses.Order(), part.Skip(1).Select(row => row[0]).Order());
            foreach (var row in part.Skip(1))
            {
                Assert.Equal(part[0].Length + 1, row.Length);
                foreach (var (index, command) in part[0].Index()) data.Add(row[0], command, row[index + 1]);
            }
        }

        return data;
    }

    /// <summary>A decision as a cell.</summary>
    public static string Cell<TStatus>(Decision<TStatus> decision)
        where TStatus : struct, Enum => decision switch
        {
            Decision<TStatus>.Accept accept => accept.Next.ToString(),
            Decision<TStatus>.Ignore => "ignore",
            Decision<TStatus>.Refuse { Fault.Code: Defect } => "defect",
            Decision<TStatus>.Refuse refuse => refuse.Fault.Code,
            _ => throw new System.Diagnostics.UnreachableException(),
        };

    /// <summary>A refusal must name the status.</summary>
    public static void AssertNamesStatus<TStatus>(string status, Decision<TStatus> decision)
        where TStatus : struct, Enum
    {
        if (decision is Decision<TStatus>.Refuse refuse) Assert.Contains(status, refuse.Fault.Message, StringComparison.Ordinal);
    }

    private static string[] Words(string line) => line.Split([' ', '|'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}

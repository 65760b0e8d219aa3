using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Http.Metadata;

namespace Instances.Requests;

/// <summary>Refuses unknown query parameters and invalid values. Ignoring one could be dangerous: it may be the filter that keeps a client from deleting too much.</summary>
internal static class QueryCheck
{
    private static readonly ConditionalWeakTable<Endpoint, IReadOnlyDictionary<string, Type>> s_parameters = [];

    public static TBuilder WithQueryCheck<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new Checked());

    public static void UseQueryCheck(this IApplicationBuilder app) => app.Use((context, next) =>
    {
        if (context.GetEndpoint() is RouteEndpoint endpoint && endpoint.Metadata.GetMetadata<Checked>() is not null) Require(context.Request.Query, s_parameters.GetValue(endpoint, ParametersOf));
        return next(context);
    });

    /// <exception cref="BadHttpRequestException">A name or a value is unknown.</exception>
    private static void Require(IQueryCollection query, IReadOnlyDictionary<string, Type> known)
    {
        foreach (var (name, values) in query)
        {
            if (!known.TryGetValue(name, out var type)) throw new BadHttpRequestException($"There is no query parameter '{name}' here. {Allowed(known.Keys)}");
            foreach (var value in values.OfType<string>().Where(value => !IsValue(value, type))) throw new BadHttpRequestException(Refusal(name, value, type));
        }
    }

    private static string Allowed(IEnumerable<string> names) =>
        names.Order(StringComparer.Ordinal).ToList() is { Count: > 0 } list ? $"Allowed are: {string.Join(", ", list)}." : "None is allowed.";

    private static string Refusal(string name, string value, Type type)
    {
        var what = $"{name} cannot be '{value}':";
        if (type == typeof(DateTimeOffset))
        {
            return value.Contains(' ', StringComparison.Ordinal)
                ? $"{what} a + in a query means a space. Send the + of the time zone as %2B, or give the time in UTC, such as 2026-01-31T12:00:00Z."
                : $"{what} it has to be a time, such as 2026-01-31T12:00:00Z.";
        }

        if (ChoicesOf(type) is { } choices) return $"{what} it has to be one of {string.Join(", ", choices)}.";
        if (type == typeof(bool)) return $"{what} it has to be true or false.";
        return type == typeof(int) || type == typeof(long) ? $"{what} it has to be a whole number." : $"{what} it has to be an id: a UUID with hyphens.";
    }

    private static bool IsValue(string value, Type type) =>
        type == typeof(string) || (type == typeof(bool) ? bool.TryParse(value, out _) : (bool)TryParseOf(type).Invoke(null, [value, CultureInfo.InvariantCulture, null])!);

    private static MethodInfo TryParseOf(Type type) =>
        type.GetMethod(nameof(int.TryParse), BindingFlags.Public | BindingFlags.Static, [typeof(string), typeof(IFormatProvider), type.MakeByRefType()])!;

    private static IEnumerable<string>? ChoicesOf(Type type) =>
        type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Choice<>)
            ? ((System.Collections.IDictionary)type.GetProperty(nameof(Choice<DayOfWeek>.Values))!.GetValue(null)!).Keys.Cast<string>()
            : null;

    private static IReadOnlyDictionary<string, Type> ParametersOf(Endpoint endpoint)
    {
        var route = ((RouteEndpoint)endpoint).RoutePattern.Parameters.Select(parameter => parameter.Name).ToHashSet(StringComparer.OrdinalIgnoreCase);
        return endpoint.Metadata.OfType<IParameterBindingMetadata>()
            .Where(parameter => !parameter.HasBindAsync && !route.Contains(parameter.Name) && IsOfQuery(parameter))
            .ToDictionary(NameOf, parameter => ValueOf(parameter.ParameterInfo.ParameterType), StringComparer.OrdinalIgnoreCase);
    }

    private static bool IsOfQuery(IParameterBindingMetadata parameter)
    {
        var attributes = parameter.ParameterInfo.GetCustomAttributes(inherit: true);
        if (attributes.OfType<IFromQueryMetadata>().Any()) return true;
        if (attributes.Any(attribute => attribute is IFromHeaderMetadata or IFromBodyMetadata or IFromServiceMetadata or IFromRouteMetadata or IFromFormMetadata)) return false;
        return parameter.HasTryParse || ValueOf(parameter.ParameterInfo.ParameterType) == typeof(string);
    }

    private static string NameOf(IParameterBindingMetadata parameter) =>
        parameter.ParameterInfo.GetCustomAttributes(inherit: true).OfType<IFromQueryMetadata>().FirstOrDefault()?.Name ?? parameter.Name;

    private static Type ValueOf(Type type) => type.IsArray ? type.GetElementType()! : Nullable.GetUnderlyingType(type) ?? type;

    private sealed class Checked;
}

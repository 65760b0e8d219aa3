using System.Reflection;
using System.Runtime.CompilerServices;

namespace Instances;

/// <summary>Compiles code before its first call, if that call must not wait for the compiler.</summary>
internal static class CompiledAhead
{
    /// <summary>Compiles the methods, the asynchronous ones and the lambdas of a type.</summary>
    public static void Type(Type type)
    {
        const BindingFlags All = BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        foreach (var method in type.GetMethods(All).Where(method => method is { IsAbstract: false, ContainsGenericParameters: false }))
            RuntimeHelpers.PrepareMethod(method.MethodHandle);
        foreach (var nested in type.GetNestedTypes(All).Where(nested => !nested.ContainsGenericParameters)) Type(nested);
    }
}

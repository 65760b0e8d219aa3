using System.Buffers;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Transfer;
using Instances.Problems;
using Microsoft.AspNetCore.Http.Headers;
using Microsoft.Win32.SafeHandles;

namespace Instances.DataPlane;

/// <summary>Sends sealed layers to other silos: their extents, ranges of their bytes, and their digests. Every request contains the ticket of an offer.</summary>
internal static class LayerEndpoints
{
    public const string Path = "/data-plane/layers";

    private const string Boundary = "layer";
    private const int BufferBytes = 256 << 10;

    /// <summary>How long a request for a digest waits for it. The caller repeats it.</summary>
    private static readonly TimeSpan DigestWait = TimeSpan.FromSeconds(5);

    public static void MapLayers(this IEndpointRouteBuilder endpoints)
    {
        // The ticket is the permission: other silos have no accounts.
        var layers = endpoints.MapGroup($"{Path}/{{layerId}}").AllowAnonymous().ExcludeFromDescription();
        layers.MapGet("", GetRanges);
        layers.MapGet("/extents", GetExtents);
        layers.MapGet("/digest", GetDigest);
    }

    private static Task GetExtents(LayerId layerId, long from, HttpContext context) => WithLayer(layerId, context, async path =>
    {
        if (from < 0)
        {
            await Problem.For(context, StatusCodes.Status400BadRequest, "request-malformed", "'from' is an offset in the layer: 0 or more.").Write(context);
            return;
        }

        using var file = File.OpenHandle(path);
        var data = new List<long>();
        var position = from;
        while (data.Count < LayerExtents.MaxExtents * 2 && UnixFiles.NextData(file, position) is { } extent)
        {
            data.AddRange([extent.Offset, extent.Length]);
            position = extent.Offset + extent.Length;
        }

        await context.Response.WriteAsJsonAsync(
            new LayerExtents(data, data.Count < LayerExtents.MaxExtents * 2 ? null : position), InstancesJson.Options, context.RequestAborted);
    });

    private static Task GetDigest(LayerId layerId, HttpContext context) => WithLayer(layerId, context, async path =>
    {
        var digest = context.RequestServices.GetRequiredService<LayerDigests>().Of(layerId, path);
        try
        {
            await context.Response.WriteAsJsonAsync(new LayerDigest(await digest.WaitAsync(DigestWait, context.RequestAborted)), InstancesJson.Options, context.RequestAborted);
        }
        catch (TimeoutException)
        {
            context.Response.StatusCode = StatusCodes.Status202Accepted;
        }
    });

    private static Task GetRanges(LayerId layerId, HttpContext context) => WithLayer(layerId, context, async path =>
    {
        using var file = File.OpenHandle(path);
        var length = RandomAccess.GetLength(file);
        if (RangesOf(context.Request.GetTypedHeaders(), length) is { } ranges)
        {
            await Send(context.Response, file, length, ranges, context.RequestAborted);
            return;
        }

        context.Response.StatusCode = StatusCodes.Status416RangeNotSatisfiable;
        context.Response.Headers.ContentRange = $"bytes */{length.ToString(CultureInfo.InvariantCulture)}";
    });

    /// <returns>Null if the request does not name ascending ranges inside the file, within the bounds.</returns>
    private static List<ByteRange>? RangesOf(RequestHeaders headers, long length)
    {
        if (headers.Range is not { Unit.Value: "bytes", Ranges: { Count: >= 1 and <= ByteRanges.MaxRanges } asked }) return null;
        var ranges = new List<ByteRange>(asked.Count);
        foreach (var range in asked)
        {
            if (range is not { From: { } from, To: { } to } || to < from || to >= length || (ranges.Count > 0 && from < ranges[^1].End)) return null;
            ranges.Add(new(from, to - from + 1));
        }

        return ranges.Sum(range => range.Length) <= ByteRanges.MaxBytes ? ranges : null;
    }

    private static async Task Send(HttpResponse response, SafeFileHandle file, long length, List<ByteRange> ranges, CancellationToken cancellationToken)
    {
        response.StatusCode = StatusCodes.Status206PartialContent;
        if (ranges is [var only])
        {
            response.ContentLength = only.Length;
            response.Headers.ContentRange = new ContentRangeHeaderValue(only.Offset, only.End - 1, length).ToString();
            await Copy(file, only, response.Body, cancellationToken);
            return;
        }

        response.ContentType = $"multipart/byteranges; boundary={Boundary}";
        response.ContentLength = ranges.Sum(range => range.Length + ByteRanges.PartHead(Boundary, range, length).Length) + ByteRanges.End(Boundary).Length;
        foreach (var range in ranges)
        {
            await response.Body.WriteAsync(Encoding.ASCII.GetBytes(ByteRanges.PartHead(Boundary, range, length)), cancellationToken);
            await Copy(file, range, response.Body, cancellationToken);
        }

        await response.Body.WriteAsync(Encoding.ASCII.GetBytes(ByteRanges.End(Boundary)), cancellationToken);
    }

    private static async Task Copy(SafeFileHandle file, ByteRange range, Stream to, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(BufferBytes, range.Length));
        try
        {
            for (var offset = range.Offset; offset < range.End;)
            {
                var read = await RandomAccess.ReadAsync(file, buffer.AsMemory(0, (int)Math.Min(buffer.Length, range.End - offset)), offset, cancellationToken);
                if (read == 0) throw new EndOfStreamException("The layer is shorter than it was.");
                await to.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                offset += read;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static async Task WithLayer(LayerId layer, HttpContext context, Func<string, Task> answer)
    {
        try
        {
            var services = context.RequestServices;
            if (!services.GetRequiredService<LayerTickets>().Accepts(layer, DataPlaneEndpoints.SecretOf(context.Request)))
                throw new FaultException(new(FaultKind.Forbidden, "ticket-invalid", "The ticket is not valid for this layer, or has expired: ask for a new offer."));

            // The host's store and the library's may be the same.
            FolderLayerStore?[] stores = [services.GetService<ILayerStore>() as FolderLayerStore, services.GetService<FolderLibraryStore>()];
            var store = stores.FirstOrDefault(store => store?.IsSealed(layer) is true) ?? throw FileFaults.LayerMissing(layer);
            await answer(store.PathOf(layer));
        }
        catch (FaultException exception) when (!context.Response.HasStarted)
        {
            await Problem.For(context, exception.Fault).Write(context);
        }
        catch (FileNotFoundException exception) when (!context.Response.HasStarted)
        {
            // It was deleted between the check and the opening.
            await Problem.For(context, FileFaults.LayerMissing(layer, exception).Fault).Write(context);
        }
    }
}

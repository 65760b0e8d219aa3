using System.ComponentModel;
using System.Net.Mime;
using Instances.Datacenters;
using Instances.Faults;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Library;

/// <summary>Sealed layers of the library. Other datacenters repair their layers with them. <c>content</c> and the paths below it have the protocol of the silos' data planes.</summary>
internal static class LayerEndpoints
{
    public static void MapLayers(this IEndpointRouteBuilder library)
    {
        var layer = library.MapGroup("/layers/{layerId}");
        layer.MapGet("", Get)
            .WithSummary("Get a layer")
            .WithDescription(
                "A layer of an image that is Ready, Retired, or Corrupt because of another layer; else 404 layer-not-found. A layer that is known to be corrupt is refused: 409 layer-not-sound. "
                + "Datacenters that name this one in Library:Peers use this to repair a corrupt layer of theirs.");
        layer.MapGet("/content", GetContent)
            .Produces(StatusCodes.Status206PartialContent, contentType: MediaTypeNames.Application.Octet)
            .WithSummary("Read a layer")
            .WithDescription(
                "Ranges of the layer's file. The header Range must name them: at most 256, in ascending order and without overlaps, each with its first and last byte, 16 MiB in all; else 416. "
                + "Several ranges are answered as multipart/byteranges. Repr-Digest is the SHA-256 of the whole file (RFC 9530), if it is known. An answer that fails in the middle breaks off the connection.");
        layer.MapGet("/content/extents", GetExtents)
            .Produces<LayerExtentsView>()
            .WithSummary("Get where a layer has data")
            .WithDescription("Layers are sparse: between the extents there are only zeros, which need not be read.");
    }

    private static async Task<Ok<LayerView>> Get(Datacenter datacenter, LayerId layerId)
    {
        var offer = await datacenter.Library.OfferLayer(layerId);
        return TypedResults.Ok(new LayerView(layerId, offer.Bytes, offer.LengthBytes, offer.Sha256));
    }

    private static async Task<IResult> GetContent(Datacenter datacenter, LayerId layerId, LayerRelay relay, HttpContext context)
    {
        var offer = await datacenter.Library.OfferLayer(layerId);
        if (offer.Sha256 is { } sha256) context.Response.Headers[DigestedBody.Trailer] = DigestedBody.Format(Convert.FromHexString(sha256));
        return await relay.Send(offer, "", context);
    }

    private static async Task<IResult> GetExtents(
        Datacenter datacenter, LayerId layerId, [Description("Only extents at this byte or after it.")] long? from, LayerRelay relay, HttpContext context) =>
        from is < 0
            ? throw FaultException.Invalid("from-invalid", $"from={from} is not a place in a file: it is 0 or more.")
            : await relay.Send(await datacenter.Library.OfferLayer(layerId), $"/extents?from={from ?? 0}", context);
}

/// <summary>Where a layer has data.</summary>
/// <param name="Data">Offsets and lengths in turn, in ascending order, at most 8192 pairs.</param>
/// <param name="Next">The offset for the next request; null if no more data follows.</param>
internal sealed record LayerExtentsView(IReadOnlyList<long> Data, long? Next);

using Instances.Faults;

namespace Instances.Library;

/// <summary>Converts bytes on the library's machine to images. No client waits for the end: the result is reported to the image.</summary>
public interface IImports
{
    /// <summary>The imports that make progress: they receive bytes, wait for their conversion, or are converted.</summary>
    IReadOnlyCollection<ImageId> UnderWay { get; }

    /// <summary>Whether this silo works on the import of an image, or its client is connected.</summary>
    bool Has(ImageId image);

    /// <summary>Converts a complete upload to an image, in the background. Does nothing if the conversion is running.</summary>
    /// <returns>False if some of its bytes are missing.</returns>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    bool TakeUp(ImageId image, UploadPlan plan);

    /// <summary>The length of a file that may be imported.</summary>
    /// <exception cref="FaultException">path-not-allowed.</exception>
    MeasuredFile Measure(string path);

    /// <summary>Copies a file and converts it to an image, in the background. Does nothing if that is running.</summary>
    /// <exception cref="FaultException">too-many-uploads. If the file is refused, the import fails.</exception>
    void TakeFile(ImageId image, UploadPlan plan, string path);

    /// <summary>Makes a master from a slave, in the background. Does nothing if that is running.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    void TakePromotion(ImageId image, UploadPlan plan);
}

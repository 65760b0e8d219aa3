using Instances.Faults;

namespace Instances.Library;

/// <summary>Makes images of bytes that are on the library's machine: no sender waits for the end, which is told to the image.</summary>
public interface IImports
{
    /// <summary>The imports that make progress: bytes come, or wait for their conversion, or are converted.</summary>
    IReadOnlyCollection<ImageId> UnderWay { get; }

    /// <summary>Makes an image of an upload that has come whole, in the background. Does nothing if that runs.</summary>
    /// <returns>False if its bytes are not all there.</returns>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    bool TakeUp(ImageId image, UploadPlan plan);

    /// <summary>How large a file is that may be imported.</summary>
    /// <exception cref="FaultException">path-not-allowed.</exception>
    MeasuredFile Measure(string path);

    /// <summary>Copies a file and makes an image of it, in the background. Does nothing if that runs.</summary>
    /// <exception cref="FaultException">too-many-uploads. What the file is refused for, ends the import.</exception>
    void TakeFile(ImageId image, UploadPlan plan, string path);

    /// <summary>Makes a master of a slave, in the background. Does nothing if that runs.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    void TakePromotion(ImageId image, UploadPlan plan);
}

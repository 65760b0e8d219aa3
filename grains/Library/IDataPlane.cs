namespace Instances.Library;

/// <summary>Where this silo takes bytes.</summary>
public interface IDataPlane
{
    /// <summary>The absolute URL that takes the upload of an image.</summary>
    Uri UploadAddress(ImageId image);
}

namespace Instances.Library;

/// <summary>Whose machines may use an image.</summary>
public enum ImageSharing
{
    /// <summary>Those of its own enterprise. To others it is as if it were not there.</summary>
    Private,

    /// <summary>Those of all enterprises. An update and a retention rule leave it alone.</summary>
    AllEnterprises,
}

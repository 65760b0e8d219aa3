using Instances.Faults;

namespace Instances.Library;

/// <summary>How an image that was shared becomes private again.</summary>
/// <remarks>The image is marked first, and then machines of other enterprises are searched for. A machine first refers to the image, and then checks whether it is shared.
/// So one of the two sees the other. Machines are also searched for before the mark. So a crash after the mark can only leave a private image with machines that were created at that
/// moment. They keep running, and can be deployed again when the image is shared again.</remarks>
internal sealed partial class ImageGrain
{
    private async Task RequireNoForeignUsers()
    {
        var users = await catalogue.UsersOfOthers(Id, State.Manifest!.Enterprise, NamedUsers);
        if (users.Count > 0)
        {
            throw FaultException.Conflict(
                "image-in-use", $"The image is {State.Status} and used by virtual machines of other enterprises, {string.Join(", ", users)}: remove them or give them another image first.");
        }
    }

    /// <summary>Shares it again if a machine was faster, or if that is not known. This increments the version, because a client may have seen the one in between.</summary>
    private async Task RequireNoForeignUsersOr(ImageState before)
    {
        try
        {
            await RequireNoForeignUsers();
        }
        catch
        {
            await GrainFactory.Library().Publish([before.Manifest!]);
            await SaveListed(before with { Version = State.Version + 1 });
            throw;
        }
    }
}

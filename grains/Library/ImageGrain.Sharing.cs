using Instances.Faults;

namespace Instances.Library;

/// <summary>How an image that was shared becomes private again.</summary>
/// <remarks>It is marked first, and machines of other enterprises are looked for then; whoever begins to use it refers to it first, and looks whether it is shared then.
/// So one of the two sees the other. Machines are looked for before the mark too: all that a crash behind it can leave is a private image with machines that came in that very
/// moment. They run on, and are deployed again when the image is shared again.</remarks>
internal sealed partial class ImageGrain
{
    private async Task RequireNoForeignUsers()
    {
        var users = await catalogue.UsersOfOthers(Id, State.Manifest!.Enterprise, NamedUsers);
        if (users.Count > 0)
        {
            throw FaultException.Conflict(
                "image-in-use", $"The image is {State.Status} and used by virtual machines of other enterprises, {string.Join(", ", users)}: they have to be removed or get another image first.");
        }
    }

    /// <summary>Shares it again where somebody has been faster, or where that cannot be found out. That is one more version: the one in between may have been seen.</summary>
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

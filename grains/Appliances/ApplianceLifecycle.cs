using static Instances.Appliances.ApplianceCommand;
using static Instances.Appliances.ApplianceStatus;

namespace Instances.Appliances;

internal enum ApplianceCommand
{
    /// <summary>A user renames it, or adds, changes or removes machines.</summary>
    Edit,
    Delete,
    Deploy,
    Undeploy,
    CreateInstance,

    /// <summary>A create-instance has committed and continues to undeploy.</summary>
    CommitToUndeploy,

    /// <summary>A host has machines of it that have no records.</summary>
    Adopt,

    /// <summary>An operation ends with the appliance deployed.</summary>
    RestDeployed,

    /// <summary>An operation ends with the appliance undeployed.</summary>
    RestUndeployed,
}

/// <summary>Which commands an appliance takes, by its status.</summary>
/// <remarks>
/// <code>
///                 Deploy                    Undeploy
///  Undeployed ────────────► Deploying ──┐  ┌──────────────► Undeploying
///     ▲  ▲                      │       ▼  │                   │   ▲
///     │  └──────────────────────┘     Deployed                 │   │ CommitToUndeploy
///     │      failed, cancelled         │   ▲                   │   │
///     │                 CreateInstance │   │ failed, cancelled │   │
///     │                                ▼   │ or not undeployed │   │
///     │                              Bundling ─────────────────┼───┘
///     └────────────────────────────────────────────────────────┘
/// </code>
/// A Deployed appliance may be deployed again: machines that were added since are started.
/// </remarks>
internal static class ApplianceLifecycle
{
    public static Decision<ApplianceStatus> Decide(ApplianceStatus status, ApplianceCommand command) => (status, command) switch
    {
        (Undeployed, Edit) => Accept(Undeployed),
        (Undeployed, Delete) => Accept(Undeployed),
        (Undeployed, Deploy) => Accept(Deploying),
        (Undeployed, Undeploy) => NotDeployed("undeploy"),
        (Undeployed, CreateInstance) => NotDeployed("create an instance of"),
        (Undeployed or Deployed, Adopt) => Accept(Deployed),
        (Undeployed, CommitToUndeploy) => Defect(status, command),
        (Undeployed, RestDeployed) => Defect(status, command),
        (Undeployed, RestUndeployed) => Ignore,

        (Deployed, Edit) => Accept(Deployed),
        (Deployed, Delete) => Refuse("appliance-deployed", "The appliance is Deployed: undeploy it before you delete it."),
        (Deployed, Deploy) => Accept(Deploying),
        (Deployed, Undeploy) => Accept(Undeploying),
        (Deployed, CreateInstance) => Accept(Bundling),
        (Deployed, CommitToUndeploy) => Defect(status, command),
        (Deployed, RestDeployed) => Ignore,
        (Deployed, RestUndeployed) => Defect(status, command),

        (Deploying, Edit or Delete or Deploy or Undeploy or CreateInstance or Adopt) => Busy(status),
        (Deploying, CommitToUndeploy) => Defect(status, command),
        (Deploying, RestDeployed) => Accept(Deployed),
        (Deploying, RestUndeployed) => Accept(Undeployed),

        (Bundling, Edit or Delete or Deploy or Undeploy or CreateInstance or Adopt) => Busy(status),
        (Bundling, CommitToUndeploy) => Accept(Undeploying),
        (Bundling, RestDeployed) => Accept(Deployed),
        (Bundling, RestUndeployed) => Defect(status, command),

        (Undeploying, Edit or Delete or Deploy or Undeploy or CreateInstance or Adopt) => Busy(status),
        (Undeploying, CommitToUndeploy) => Ignore,
        (Undeploying, RestDeployed) => Defect(status, command),
        (Undeploying, RestUndeployed) => Accept(Undeployed),
    };

    private static Decision<ApplianceStatus> Ignore => Decide<ApplianceStatus>.Ignore;

    private static Decision<ApplianceStatus> Accept(ApplianceStatus next) => Decide<ApplianceStatus>.Accept(next);

    private static Decision<ApplianceStatus> Refuse(string code, string message) => Decide<ApplianceStatus>.Refuse(code, message);

    private static Decision<ApplianceStatus> Defect(ApplianceStatus status, ApplianceCommand command) =>
        Decide<ApplianceStatus>.Defect(status, command.ToString());

    private static Decision<ApplianceStatus> NotDeployed(string what) =>
        Refuse("appliance-not-deployed", $"The appliance is Undeployed: deploy it before you {what} it.");

    private static Decision<ApplianceStatus> Busy(ApplianceStatus status) =>
        Refuse("appliance-busy", $"The appliance is {status}: wait for its operation to end, or cancel it.");
}

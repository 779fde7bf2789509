//! The one place that says `unknown_tool` (`…_prompt`, `…_resource`): for what is not there and for what the roles
//! don't show.

use std::sync::Arc;

use crate::{
    call::{Ask, Principal, Routed},
    catalogue::Target,
    denial::Denial,
    stages::resolve::Resolved,
    view::policy::{Access, Policy},
};

/// Proof that one of the caller's roles shows this target.
#[derive(Debug)]
pub struct Visible {
    resolved: Resolved,
    target: Arc<Target>,
}

impl Visible {
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

/// Errors: `UnknownTool` and its like, after the same work for a name that is hidden and one that is not there.
pub fn check(call: Resolved) -> Result<Visible, Denial> {
    let charged = call.charged();
    let caller = charged.caller();
    let Routed { ask, name, .. } = charged.call();
    let target = shown(&caller.view().policy, caller.principal(), (*ask, name), call.target().cloned())?;
    Ok(Visible { resolved: call, target })
}

/// The decision alone, of what a name was resolved to.
pub fn shown<T>(
    policy: &Policy,
    principal: &Principal,
    (ask, name): (Ask, &Arc<str>),
    target: Option<T>,
) -> Result<T, Denial> {
    match (ask.access(policy, principal, name), target) {
        (Access::Open | Access::Ruled(_), Some(target)) => Ok(target),
        (Access::Hidden | Access::Open | Access::Ruled(_), target) => Err(Denial::unknown(ask, name, target.is_some())),
    }
}

//! The one place that says `unknown_tool` (`…_prompt`, `…_resource`): for what is not there and for what the roles
//! don't show.

use std::sync::Arc;

use crate::{call::Routed, catalogue::Target, denial::Denial, stages::resolve::Resolved, view::policy::Access};

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
    let access = caller.view().policy.access(caller.principal(), ask.kind(), name);
    match (access, call.target().cloned()) {
        (Access::Open | Access::Ruled(_), Some(target)) => Ok(Visible { resolved: call, target }),
        (Access::Hidden | Access::Open | Access::Ruled(_), target) => {
            Err(Denial::unknown(charged.call(), target.is_some()))
        }
    }
}

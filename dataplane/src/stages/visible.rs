//! The one place that says `unknown_tool`: for a name that is not there and for one that the roles don't show.

use std::sync::Arc;

use crate::{catalogue::Tool, denial::Denial, stages::resolve::Resolved, view::policy::Access};

/// Proof that one of the caller's roles shows this target.
#[derive(Debug)]
pub struct Visible {
    resolved: Resolved,
    tool: Arc<Tool>,
}

impl Visible {
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }
}

/// Errors: `UnknownTool`, after the same work for a name that is hidden and one that is not there.
pub fn check(call: Resolved) -> Result<Visible, Denial> {
    let charged = call.charged();
    let caller = charged.caller();
    let access = caller.view().policy.access(caller.principal(), &charged.call().name);
    match (access, call.tool().cloned()) {
        (Access::Open | Access::Ruled(_), Some(tool)) => Ok(Visible { resolved: call, tool }),
        (Access::Hidden | Access::Open | Access::Ruled(_), tool) => Err(Denial::UnknownTool { hidden: tool.is_some() }),
    }
}

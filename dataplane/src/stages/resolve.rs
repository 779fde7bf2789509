//! From the asked name to the target, if there is one. Never refuses: a name that is not there goes on like the rest.

use std::sync::Arc;

use crate::{catalogue::Tool, stages::limits::client::Charged};

/// Proof that the name was looked up in the caller's View.
#[derive(Debug)]
pub struct Resolved {
    charged: Charged,
    tool: Option<Arc<Tool>>,
}

impl Resolved {
    pub fn charged(&self) -> &Charged {
        &self.charged
    }

    pub fn tool(&self) -> Option<&Arc<Tool>> {
        self.tool.as_ref()
    }
}

pub fn target(charged: Charged) -> Resolved {
    let catalogue = &charged.caller().view().catalogue;
    let tool = catalogue.find(&charged.call().name).and_then(|id| catalogue.tool(id)).cloned();
    Resolved { charged, tool }
}

//! From the asked name to the target, if there is one. Never refuses: a name that is not there goes on like the rest.

use std::sync::Arc;

use crate::{catalogue::Target, stages::limits::client::Charged};

/// Proof that the name was looked up in the caller's View.
#[derive(Debug)]
pub struct Resolved {
    charged: Charged,
    target: Option<Arc<Target>>,
}

impl Resolved {
    pub fn charged(&self) -> &Charged {
        &self.charged
    }

    pub fn target(&self) -> Option<&Arc<Target>> {
        self.target.as_ref()
    }
}

pub fn target(charged: Charged) -> Resolved {
    let call = charged.call();
    let target = charged.caller().view().catalogue.target(call.ask, &call.name).cloned();
    Resolved { charged, target }
}

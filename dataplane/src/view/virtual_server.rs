//! What a virtual server is made of: a part of the catalogue with an endpoint of its own (`/servers/<name>/mcp`). Who may
//! see what of it, roles decide, as on `/mcp`.

use std::sync::Arc;

use sentinel_proto::v1;

use super::pattern::Selection;
use crate::call::Kind;

/// One of `[[virtual_servers]]`.
#[derive(Debug)]
pub struct VirtualServer {
    pub name: Arc<str>,
    include: Selection,
    backends: Vec<Box<str>>,
}

impl VirtualServer {
    pub(super) fn new(written: v1::VirtualServer) -> Self {
        let v1::VirtualServer { name, include, backends } = written;
        let backends = backends.into_iter().map(Into::into).collect();
        Self { name: name.into(), include: Selection::new(&include), backends }
    }

    /// Whether this is a part of it.
    pub fn has(&self, backend: &str, kind: Kind, exposed: &str) -> bool {
        self.has_all_of(backend) || self.include.selects(kind, exposed)
    }

    /// Whatever the backend offers, and will.
    pub fn has_all_of(&self, backend: &str) -> bool {
        self.backends.iter().any(|name| **name == *backend)
    }
}

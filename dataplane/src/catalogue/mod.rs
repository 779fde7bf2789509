//! What the backends offer now, as clients see it: prefixed, renamed, without what is hidden or collides.
//!
//! Immutable plain data, joined with the Policy into a View. It knows tools; it starts and calls nothing.

pub mod merge;
pub mod schema;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    call::{BackendId, ToolId},
    metrics::ToolMetrics,
};

/// One exposed tool with all that a call of it needs to know.
#[derive(Debug)]
pub struct Tool {
    pub exposed: Arc<str>,
    /// The backend's own name for it.
    pub own: Arc<str>,
    pub backend: BackendId,
    pub backend_name: Arc<str>,
    /// The tool's JSON object as listed: the backend's bytes but for the name, and the description where configured.
    pub definition: Bytes,
    pub check: schema::Check,
    /// Which of the policy's quotas limits one client's calls of it.
    pub quota: crate::view::policy::Quota,
    pub timeout: Duration,
    pub progress_renews: bool,
    pub max_timeout: Duration,
    pub metrics: Arc<ToolMetrics>,
}

/// A tool that a backend offers and clients don't get, with the reason for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub exposed: Box<str>,
    pub own: Box<str>,
    pub backend: Arc<str>,
    pub reason: String,
}

#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Vec<Arc<Tool>>,
    by_name: HashMap<Arc<str>, ToolId>,
    refused: Vec<Refused>,
    /// Backends whose entries are kept although they are down.
    stale: Vec<Arc<str>>,
    /// Backends that have said what they offer, be it nothing.
    heard: Vec<Arc<str>>,
}

impl Catalogue {
    pub fn find(&self, exposed: &str) -> Option<ToolId> {
        self.by_name.get(exposed).copied()
    }

    pub fn tool(&self, id: ToolId) -> Option<&Arc<Tool>> {
        self.tools.get(id.0 as usize)
    }

    /// In the order of the file, then of the backend.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// False: it has not been listed yet, and a call of its tools meets an unknown name.
    pub fn has_heard(&self, backend: &str) -> bool {
        self.heard.iter().any(|name| &**name == backend)
    }

    pub fn is_stale(&self, backend: &str) -> bool {
        self.stale.iter().any(|name| &**name == backend)
    }
}

//! HTTP backends: their link to the plane. This build has none yet: such a backend is shown as down, with that reason.

use std::{sync::Arc, time::Duration};

use super::{Housekeeping, LinkParts, LinkStatus, Outgoing, Sent, State, spec::BackendSpec};
use crate::{
    answering::Events,
    denial::{Failure, Unavailable},
    in_flight::Flight,
};

#[derive(Debug)]
pub struct HttpLink {
    name: Arc<str>,
}

impl HttpLink {
    #[expect(clippy::needless_pass_by_value, reason = "a link keeps its parts")]
    pub fn start(spec: Arc<BackendSpec>, _parts: LinkParts) -> Self {
        Self { name: Arc::clone(&spec.name) }
    }

    pub fn status(&self) -> LinkStatus {
        LinkStatus {
            state: State::Down,
            reason: "this build has no HTTP backends".into(),
            since: 0,
            pid: 0,
            restarts: 0,
            server: "".into(),
            protocol_version: "".into(),
            retry_after: None,
        }
    }

    fn down(&self) -> Failure {
        Failure::BackendUnavailable { backend: Arc::clone(&self.name), state: Unavailable::Down, retry_after: None }
    }

    #[expect(clippy::unused_async, reason = "the same shape as the other link")]
    pub async fn call(&self, _call: Outgoing<'_>, _flight: &Flight, _events: &Events) -> Sent {
        Sent::Never(self.down())
    }

    #[expect(clippy::unused_async, reason = "the same shape as the other link")]
    pub async fn housekeep(&self, _what: Housekeeping, _within: Duration) -> Result<(), Failure> {
        Err(self.down())
    }

    pub fn restart(&self) {}

    #[expect(clippy::unused_async, reason = "the same shape as the other link")]
    pub async fn stop(&self) {}
}

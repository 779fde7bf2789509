//! The bucket of (client, tool).

use super::{Buckets, Over};
use crate::{
    denial::{Denial, Limit},
    stages::visible::Visible,
};

/// Proof that this client may call this tool once more now.
#[derive(Debug)]
pub struct Admitted(Visible);

impl Admitted {
    pub fn visible(&self) -> &Visible {
        &self.0
    }
}

/// Errors: `RateLimited`, with the time until there is a token again.
pub fn admit(call: Visible, buckets: &Buckets) -> Result<Admitted, Denial> {
    use std::hash::BuildHasher as _;
    let tool = call.tool();
    let shared = buckets.hasher.hash_one(&tool.exposed);
    let key = buckets.client_key(call.resolved().charged().caller().principal()) ^ shared;
    match buckets.take(Over::ClientAndTool, tool.quota, key, shared) {
        Ok(()) => Ok(Admitted(call)),
        Err(wait) => {
            tool.metrics.rate_limit_hits.inc();
            Err(Denial::RateLimited { limit: Limit::Tool, retry_after: Some(wait) })
        }
    }
}

//! The bucket of (client, target).

use super::{Buckets, Over};
use crate::{
    denial::{Denial, Limit},
    stages::visible::Visible,
};

/// Proof that this client may ask for this target once more now.
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
    let target = call.target();
    let shared = buckets.hasher.hash_one((target.kind, &target.exposed));
    let key = buckets.client_key(call.resolved().charged().caller().principal()) ^ shared;
    match buckets.take(Over::ClientAndTarget, target.quota, key, shared) {
        Ok(()) => Ok(Admitted(call)),
        Err(wait) => {
            target.metrics.rate_limit_hits.inc();
            Err(Denial::RateLimited { limit: Limit::Tool, retry_after: Some(wait) })
        }
    }
}

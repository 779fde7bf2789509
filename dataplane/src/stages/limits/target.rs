//! The bucket of (client, target).

use std::hash::BuildHasher as _;

use super::{Bucket, Buckets, Draw, Over};
use crate::{
    call::Principal,
    catalogue::Target,
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
    let target = call.target();
    let drawn = draw(Draw::Takes, call.resolved().charged().caller().principal(), target, buckets);
    match drawn {
        Ok(()) => Ok(Admitted(call)),
        Err(denial) => {
            target.metrics.rate_limit_hits.inc();
            Err(denial)
        }
    }
}

/// What `admit` would say now; nothing is taken or counted.
pub fn look(principal: &Principal, target: &Target, buckets: &Buckets) -> Result<(), Denial> {
    draw(Draw::Looks, principal, target, buckets)
}

fn draw(draw: Draw, principal: &Principal, target: &Target, buckets: &Buckets) -> Result<(), Denial> {
    let shared = buckets.hasher.hash_one((target.kind, &target.exposed));
    let key = buckets.client_key(principal) ^ shared;
    let bucket = Bucket { over: Over::ClientAndTarget, quota: target.quota, key, shared };
    buckets.draw(draw, bucket).map_err(|wait| Denial::RateLimited { limit: Limit::Tool, retry_after: Some(wait) })
}

//! The client's own bucket and share in flight, charged for every request that no kill switch refused.

use std::sync::Arc;

use super::{Buckets, Over, Slot};
use crate::{
    call::{Caller, Routed},
    denial::{Denial, Limit},
};

/// Least share of one client in what is running, whatever `max_in_flight` is.
const LEAST_SHARE: usize = 16;

/// Proof that the client's own limits let the request in; holds its place in flight.
#[derive(Debug)]
pub struct Charged {
    caller: Caller,
    call: Routed,
    slot: Slot,
}

impl Charged {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub fn call(&self) -> &Routed {
        &self.call
    }

    /// Where the place in flight is, for the one who asks whether it is held.
    pub fn holds_a_place(&self) -> bool {
        self.slot.buckets.share(self.slot.client).contains_key(&self.slot.client)
    }
}

/// Takes one token of the client's bucket. Errors: `RateLimited`, for any request.
pub fn charge(caller: &Caller, buckets: &Buckets) -> Result<(), Denial> {
    let key = buckets.client_key(caller.principal());
    let quota = caller.view().policy.per_client;
    buckets
        .take(Over::Client, quota, key, 0)
        .map_err(|wait| Denial::RateLimited { limit: Limit::Client, retry_after: Some(wait) })
}

/// Errors: `Overloaded` when the plane is full, `RateLimited` when the client's bucket or share is.
pub fn admit(caller: Caller, call: Routed, buckets: &Arc<Buckets>, running: usize) -> Result<Charged, Denial> {
    let most = caller.view().policy.gateway.max_in_flight;
    if running >= most {
        return Err(Denial::Overloaded);
    }
    charge(&caller, buckets)?;
    let key = buckets.client_key(caller.principal());
    let slot = buckets
        .occupy(key, (most / 4).max(LEAST_SHARE))
        .ok_or(Denial::RateLimited { limit: Limit::Concurrency, retry_after: None })?;
    Ok(Charged { caller, call, slot })
}

//! The client's own bucket and share in flight, charged for every request that no kill switch refused.

use std::sync::Arc;

use super::{Bucket, Buckets, Draw, Over, Slot};
use crate::{
    call::{Caller, ClientHash, Principal, Routed},
    denial::{Denial, Limit},
    view::policy::Policy,
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

    /// Whose it is, for who shares something out by clients.
    pub fn client(&self) -> ClientHash {
        ClientHash(self.slot.client)
    }

    /// Where the place in flight is, for the one who asks whether it is held.
    pub fn holds_a_place(&self) -> bool {
        self.slot.buckets.share(self.slot.client).contains_key(&self.slot.client)
    }
}

/// Takes one token of the client's bucket. Errors: `RateLimited`, for any request.
pub fn charge(caller: &Caller, buckets: &Buckets) -> Result<(), Denial> {
    draw(Draw::Takes, &caller.view().policy, caller.principal(), buckets)
}

fn draw(draw: Draw, policy: &Policy, principal: &Principal, buckets: &Buckets) -> Result<(), Denial> {
    let bucket = Bucket { over: Over::Client, quota: policy.per_client, key: buckets.client_key(principal), shared: 0 };
    buckets.draw(draw, bucket).map_err(|wait| Denial::RateLimited { limit: Limit::Client, retry_after: Some(wait) })
}

/// Errors: `Overloaded` when the plane is full, `RateLimited` when the client's bucket or share is.
pub fn admit(caller: Caller, call: Routed, buckets: &Arc<Buckets>, running: usize) -> Result<Charged, Denial> {
    has_room(&caller.view().policy, running)?;
    charge(&caller, buckets)?;
    let key = buckets.client_key(caller.principal());
    let slot = buckets.occupy(key, share(&caller.view().policy)).ok_or(TOO_MANY)?;
    Ok(Charged { caller, call, slot })
}

/// What `admit` would say now; nothing is taken.
pub fn look(policy: &Policy, principal: &Principal, buckets: &Buckets, running: usize) -> Result<(), Denial> {
    has_room(policy, running)?;
    draw(Draw::Looks, policy, principal, buckets)?;
    let key = buckets.client_key(principal);
    if buckets.share(key).get(&key).is_some_and(|running| *running >= share(policy)) {
        return Err(TOO_MANY);
    }
    Ok(())
}

const TOO_MANY: Denial = Denial::RateLimited { limit: Limit::Concurrency, retry_after: None };

fn has_room(policy: &Policy, running: usize) -> Result<(), Denial> {
    if running < policy.gateway.max_in_flight { Ok(()) } else { Err(Denial::Overloaded) }
}

/// How many calls of one client may run at once.
pub fn share(policy: &Policy) -> usize {
    (policy.gateway.max_in_flight / 4).max(LEAST_SHARE)
}

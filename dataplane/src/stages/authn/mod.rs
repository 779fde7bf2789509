//! The first stage: from a bearer token to a `Verified` principal, from the head alone, before a body is read.
//!
//! The key decides the algorithm, never the token's word. What `jsonwebtoken` takes and we refuse stands in
//! `reliability.md` 6.2. Verified tokens are kept by SHA-256 with the generation of the keys that judged them.

mod claims;
mod keys;
pub mod resource;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

pub use self::keys::{AuthPolicy, KeyProblem};
use self::keys::{Endpoints, Judged};
use crate::{
    call::Principal,
    denial::{Denial, TokenFault},
    endpoint::Endpoint,
    kill::gate::Revoked,
};

/// Verified tokens held.
const HELD: u64 = 10_000;
/// Longest token that is looked at (bytes).
const LONGEST: usize = 16 * 1024;
/// Bad tokens a second of one peer that are verified at all (rulings 6.4).
const BAD_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");

/// Proof of a verified token (or of a configuration that asks for none).
#[derive(Debug)]
pub struct Verified(Arc<Principal>);

impl Verified {
    pub fn principal(&self) -> &Arc<Principal> {
        &self.0
    }

    /// The messages of one batch share one token, verified once.
    pub(crate) fn again(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(crate) fn into_principal(self) -> Arc<Principal> {
        self.0
    }
}

/// Whom failed tokens are counted for: on loopback all have one address, so there it is the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Address(IpAddr),
    Connection(u64),
}

/// What was learned of tokens: nothing here decides alone, all of it may be lost.
#[derive(Debug)]
pub struct Tokens {
    verified: Cache<[u8; 32], Held>,
    refused: Cache<[u8; 32], (u64, TokenFault)>,
    noisy: Cache<Peer, ()>,
    failures: DefaultKeyedRateLimiter<Peer>,
    revoked: Revoked,
}

#[derive(Clone, Debug)]
struct Held {
    principal: Arc<Principal>,
    endpoints: Arc<Endpoints>,
    generation: u64,
}

impl Held {
    fn is_good_at(&self, endpoint: Endpoint<'_>) -> bool {
        self.endpoints.as_ref().as_ref().is_none_or(|good| good.iter().any(|good| good.as_deref() == endpoint))
    }
}

impl Tokens {
    pub fn new(revoked: Revoked) -> Self {
        Self {
            verified: Cache::new(HELD),
            refused: Cache::builder().max_capacity(HELD).time_to_live(Duration::from_secs(60)).build(),
            noisy: Cache::builder().max_capacity(HELD).time_to_live(Duration::from_secs(1)).build(),
            failures: RateLimiter::keyed(Quota::per_second(BAD_PER_SECOND)),
            revoked,
        }
    }

    /// Forgets peers that were quiet; called each minute.
    pub fn sweep(&self) {
        self.failures.retain_recent();
    }

    /// `authorization`: the header's value. `from`: who sends it, and to which endpoint. `now`: Unix seconds.
    /// Errors: `Unauthenticated`, with the one reason that the caller is told.
    pub fn authenticate(
        &self,
        authorization: Option<&[u8]>,
        from: (Peer, Endpoint<'_>),
        auth: &AuthPolicy,
        now: i64,
    ) -> Result<Verified, Denial> {
        if let Some(anonymous) = auth.anonymous() {
            return Ok(Verified(Arc::clone(anonymous)));
        }
        self.judge(authorization, from, auth, now).map_err(|reason| Denial::Unauthenticated { reason })
    }

    fn judge(
        &self,
        authorization: Option<&[u8]>,
        (peer, endpoint): (Peer, Endpoint<'_>),
        auth: &AuthPolicy,
        now: i64,
    ) -> Result<Verified, TokenFault> {
        let token = bearer(authorization.ok_or(TokenFault::Missing)?)?;
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        // The generation is read before anything is verified: a key or revocation that changes meanwhile makes a miss.
        let generation = auth.generation() ^ self.revoked.generation();
        let held = self.verified.get(&key).filter(|held| held.generation == generation);
        let held = match held {
            Some(held) => held,
            None => self.verify(token, key, generation, peer, auth, now)?,
        };
        if !held.is_good_at(endpoint) {
            return Err(TokenFault::Audience);
        }
        let principal = held.principal;
        if principal.until <= now {
            return Err(TokenFault::Expired);
        }
        if principal.jti.as_deref().is_some_and(|jti| self.revoked.is_revoked(&principal.issuer, jti)) {
            return Err(TokenFault::Revoked);
        }
        Ok(Verified(principal))
    }

    fn verify(
        &self,
        token: &str,
        key: [u8; 32],
        generation: u64,
        peer: Peer,
        auth: &AuthPolicy,
        now: i64,
    ) -> Result<Held, TokenFault> {
        if let Some((judged_by, fault)) = self.refused.get(&key)
            && judged_by == generation
            && fault != TokenFault::NotYetValid
        {
            return Err(fault);
        }
        if self.noisy.contains_key(&peer) {
            return Err(TokenFault::Malformed);
        }
        match auth.verify(token, now) {
            Ok(Judged { principal, endpoints }) => {
                let held = Held { principal: Arc::new(principal), endpoints: Arc::new(endpoints), generation };
                self.verified.insert(key, held.clone());
                Ok(held)
            }
            Err(fault) => {
                self.refused.insert(key, (generation, fault));
                if self.failures.check_key(&peer).is_err() {
                    self.noisy.insert(peer, ());
                }
                Err(fault)
            }
        }
    }
}

/// RFC 6750 2.1; the scheme in any case (RFC 9110 11.1).
fn bearer(authorization: &[u8]) -> Result<&str, TokenFault> {
    let text = std::str::from_utf8(authorization).map_err(|_| TokenFault::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenFault::Malformed)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > LONGEST {
        return Err(TokenFault::Malformed);
    }
    Ok(token)
}

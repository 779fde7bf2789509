//! A task's id as clients have it: its server's own id, sealed with all by which a request about it is judged. Whoever has
//! it has no more than the client to whom it was given; without it nobody finds a task.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    call::{Principal, RequestId},
    catalogue::Target,
    seal::{self, Kind, Mark, Seal},
};

/// Bytes of a server's own id.
pub const LONGEST: usize = 1_024;

/// A task that its client may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The call that it goes on with.
    pub first: RequestId,
    /// As its server calls it.
    pub own: Box<str>,
    of: Mark,
}

impl Task {
    pub(super) fn new(target: &Target, first: RequestId, own: &str) -> Self {
        Self { first, own: own.into(), of: of(target) }
    }

    /// It is one of this tool.
    pub fn is_of(&self, target: &Target) -> bool {
        self.of == of(target)
    }
}

fn of(target: &Target) -> Mark {
    seal::mark(&[&target.backend_name, &target.own])
}

/// Gives ids and reads them.
#[derive(Debug)]
pub struct TaskIds(Seal);

impl TaskIds {
    /// `key`: the 32 bytes of `seal.key`; none: another number of bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        Seal::new(key).map(Self)
    }

    /// The id of what its server calls `own`, for this client alone. None: its own id is longer than ids are, or there
    /// is no randomness.
    pub fn give(&self, principal: &Principal, target: &Target, first: RequestId, own: &str) -> Option<String> {
        if own.is_empty() || own.len() > LONGEST {
            return None;
        }
        let mut sealed = Vec::with_capacity(256);
        sealed.extend_from_slice(&seal::owner(principal));
        sealed.extend_from_slice(first.uuid().as_bytes());
        sealed.extend_from_slice(&of(target));
        sealed.extend_from_slice(&u16::try_from(target.exposed.len()).ok()?.to_be_bytes());
        sealed.extend_from_slice(target.exposed.as_bytes());
        sealed.extend_from_slice(own.as_bytes());
        self.0.close(Kind::Task, sealed)
    }

    /// The tool's name, and its task. None: this client was given no such id under this key.
    pub fn open(&self, id: &str, principal: &Principal) -> Option<(Arc<str>, Task)> {
        let opened = self.0.open(Kind::Task, id.as_bytes()).ok()?;
        let (owner, rest) = opened.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first_chunk::<16>()?;
        let (of, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (name, own) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let first = RequestId::of(Uuid::from_bytes(*first));
        if *owner != seal::owner(principal) {
            tracing::warn!(client = %principal.client.escape_debug(), %first, "the id of another client's task");
            return None;
        }
        let task = Task { first, own: std::str::from_utf8(own).ok()?.into(), of: *of };
        Some((std::str::from_utf8(name).ok()?.into(), task))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tasks) fn principal(client: &str) -> Principal {
        Principal { issuer: "i".into(), client: client.into(), roles: Box::default(), jti: None, until: i64::MAX }
    }

    pub(in crate::tasks) fn tool(backend: &str, own: &str) -> Target {
        Target {
            kind: crate::call::Kind::Tool,
            exposed: format!("{backend}__{own}").into(),
            own: own.into(),
            backend: crate::call::BackendId(7),
            backend_name: backend.into(),
            definition: bytes::Bytes::new(),
            check: crate::catalogue::schema::Check::Open,
            quota: crate::view::policy::Quota { requests: 1, per_secs: 1, burst: 1 },
            timeout: std::time::Duration::ZERO,
            progress_renews: false,
            max_timeout: std::time::Duration::ZERO,
            mirrored: Box::default(),
            metrics: crate::metrics::Metrics::new().unwrap().tool(own),
            may_repeat: false,
            held: None,
            tasks: None,
        }
    }

    #[test]
    fn an_id_is_good_for_its_client_and_tells_the_tool_and_the_servers_own_id() {
        let (ids, first) = (TaskIds::new(&[7; 32]).unwrap(), RequestId::fresh());
        let target = tool("web", "slow");
        let id = ids.give(&principal("a"), &target, first, "own \u{e9}\"1").unwrap();
        assert!(!id.contains("own"));
        let (name, task) = ids.open(&id, &principal("a")).unwrap();
        assert_eq!((&*name, &*task.own, task.first), (&*target.exposed, "own \u{e9}\"1", first));
        assert!(task.is_of(&target));
        assert!(!task.is_of(&tool("other", "slow")) && !task.is_of(&tool("web", "other")));
        assert!(ids.open(&id, &principal("b")).is_none(), "another client's");
        assert_ne!(id, ids.give(&principal("a"), &target, first, "own \u{e9}\"1").unwrap());
    }

    #[test]
    fn nobody_makes_one_and_none_is_longer_than_ids_are() {
        let ids = TaskIds::new(&[7; 32]).unwrap();
        let (mine, target) = (principal("a"), tool("web", "slow"));
        let longest = ids.give(&mine, &target, RequestId::fresh(), &"x".repeat(LONGEST)).unwrap();
        assert!(ids.open(&longest, &mine).is_some());
        assert!(ids.give(&mine, &target, RequestId::fresh(), &"x".repeat(LONGEST + 1)).is_none());
        assert!(ids.give(&mine, &target, RequestId::fresh(), "").is_none());
        let (start, end) = longest.split_at(longest.len() - 1);
        let changed = format!("{start}{}", if end == "A" { "B" } else { "A" });
        let other = TaskIds::new(&[8; 32]).unwrap().give(&mine, &target, RequestId::fresh(), "x").unwrap();
        for forged in ["", "t1.", "own", start, &changed, &format!("{longest}A"), &other, &"t1.A".repeat(100_000)] {
            assert!(ids.open(forged, &mine).is_none(), "{forged:.40}");
        }
    }
}

//! A task's id as clients have it: its server's own id, sealed with all by which a request about it is judged. Whoever has
//! it has no more than the client to whom it was given; without it nobody finds a task.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    backend::era::Era,
    call::{Principal, RequestId},
    catalogue::Target,
    in_flight::LegKey,
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
    /// As its client does.
    pub id: Box<str>,
    /// Legacy: a task of revision 2025-11-25.
    pub era: Era,
    /// The session whose process has it, of a server that has one for each.
    pub session: Option<LegKey>,
    of: Mark,
}

impl Task {
    /// It is one of this tool.
    pub fn is_of(&self, target: &Target) -> bool {
        self.of == of(target)
    }
}

const fn kind(era: Era) -> Kind {
    match era {
        Era::Legacy => Kind::CoreTask,
        Era::Modern => Kind::Task,
    }
}

fn of(target: &Target) -> Mark {
    seal::mark(&[&target.backend_name, &target.own])
}

/// A task that has no id yet.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    pub first: RequestId,
    pub own: &'a str,
    pub era: Era,
    /// As in `Task`.
    pub session: Option<LegKey>,
}

/// Gives ids and reads them.
#[derive(Debug)]
pub struct TaskIds(Seal);

impl TaskIds {
    /// `key`: the 32 bytes of `seal.key`; none: another number of bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        Seal::new(key).map(Self)
    }

    /// A task under an id for this client alone. None: its own id is longer than ids are, or there is no randomness.
    pub fn give(&self, principal: &Principal, target: &Target, begun: New<'_>) -> Option<Task> {
        let New { first, own, era, session } = begun;
        if own.is_empty() || own.len() > LONGEST {
            return None;
        }
        let mut sealed = Vec::with_capacity(256);
        if era == Era::Legacy {
            sealed.extend_from_slice(&session.map_or([0; 16], |session| session.0));
        }
        sealed.extend_from_slice(&seal::owner(principal));
        sealed.extend_from_slice(first.uuid().as_bytes());
        sealed.extend_from_slice(&of(target));
        sealed.extend_from_slice(&u16::try_from(target.exposed.len()).ok()?.to_be_bytes());
        sealed.extend_from_slice(target.exposed.as_bytes());
        sealed.extend_from_slice(own.as_bytes());
        let id = self.0.close(kind(era), sealed)?;
        Some(Task { first, own: own.into(), id: id.into(), era, session, of: of(target) })
    }

    /// The tool's name, and its task. None: this client was given no such id under this key, of a task of this era.
    pub fn open(&self, id: &str, principal: &Principal, era: Era) -> Option<(Arc<str>, Task)> {
        let opened = self.0.open(kind(era), id.as_bytes()).ok()?;
        let (session, rest) = match era {
            Era::Legacy => opened.split_first_chunk::<16>()?,
            Era::Modern => (&[0; 16], &*opened),
        };
        let session = Some(LegKey(*session)).filter(|session| !session.is_alone());
        let (owner, rest) = rest.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first_chunk::<16>()?;
        let (of, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (name, own) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let first = RequestId::of(Uuid::from_bytes(*first));
        if *owner != seal::owner(principal) {
            tracing::warn!(client = %principal.client.escape_debug(), %first, "the id of another client's task");
            return None;
        }
        let own = std::str::from_utf8(own).ok()?.into();
        let task = Task { first, own, id: id.into(), era, session, of: *of };
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
            core_tasks: None,
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

    fn given(ids: &TaskIds, own: &str, era: Era) -> Option<Task> {
        let session = (era == Era::Legacy).then_some(LegKey([7; 16]));
        let new = New { first: RequestId::fresh(), own, era, session };
        ids.give(&principal("a"), &tool("web", "slow"), new)
    }

    #[test]
    fn an_id_is_good_for_its_client_and_tells_the_tool_and_the_servers_own_id() {
        let ids = TaskIds::new(&[7; 32]).unwrap();
        for era in [Era::Legacy, Era::Modern] {
            let task = given(&ids, "own \u{e9}\"1", era).unwrap();
            assert!(!task.id.contains("own"));
            let (name, opened) = ids.open(&task.id, &principal("a"), era).unwrap();
            assert_eq!((&*name, &opened), ("web__slow", &task));
            assert!(task.is_of(&tool("web", "slow")));
            assert!(!task.is_of(&tool("other", "slow")) && !task.is_of(&tool("web", "other")));
            assert!(ids.open(&task.id, &principal("b"), era).is_none(), "another client's");
            assert_ne!(task.id, given(&ids, "own \u{e9}\"1", era).unwrap().id);
        }
    }

    #[test]
    fn a_task_of_one_era_is_none_of_the_other() {
        let ids = TaskIds::new(&[7; 32]).unwrap();
        for (its, other) in [(Era::Legacy, Era::Modern), (Era::Modern, Era::Legacy)] {
            assert!(ids.open(&given(&ids, "x", its).unwrap().id, &principal("a"), other).is_none());
        }
    }

    #[test]
    fn nobody_makes_one_and_none_is_longer_than_ids_are() {
        let ids = TaskIds::new(&[7; 32]).unwrap();
        let mine = principal("a");
        let longest = given(&ids, &"x".repeat(LONGEST), Era::Modern).unwrap().id;
        assert!(ids.open(&longest, &mine, Era::Modern).is_some());
        assert!(given(&ids, &"x".repeat(LONGEST + 1), Era::Modern).is_none());
        assert!(given(&ids, "", Era::Modern).is_none());
        let (start, end) = longest.split_at(longest.len() - 1);
        let changed = format!("{start}{}", if end == "A" { "B" } else { "A" });
        let other = given(&TaskIds::new(&[8; 32]).unwrap(), "x", Era::Modern).unwrap().id;
        for forged in ["", "t1.", "own", start, &changed, &format!("{longest}A"), &other, &"t1.A".repeat(100_000)] {
            assert!(ids.open(forged, &mine, Era::Modern).is_none(), "{forged:.40}");
        }
    }
}

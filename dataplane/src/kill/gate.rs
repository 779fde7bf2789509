//! What calls read: the union of all kill switches that stand, and the revoked tokens. A pointer, a few look-ups.
//!
//! It knows no epochs, no disk and no messages; `kill::Kills` swaps what is here. The early words (`caller`,
//! `target`) make `disabled` the answer whatever else is wrong; the one that binds is `judges`, asked at dispatch.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use sentinel_proto::v1;
use tokio::sync::watch;

use crate::{
    call::{Kind, Principal},
    catalogue::Target,
    denial::{Disabled, Scope},
};

/// Everything that is refused now, by what it is refused for.
#[derive(Debug, Default)]
pub struct Killed {
    any: bool,
    all: Option<Disabled>,
    tools: HashMap<Box<str>, Disabled>,
    /// By backend, then by the backend's own name: a rename does not undo a kill.
    own: HashMap<Box<str>, HashMap<Box<str>, Disabled>>,
    backends: HashMap<Box<str>, Disabled>,
    clients: HashMap<Box<str>, Disabled>,
    roles: HashMap<Box<str>, Disabled>,
}

impl Killed {
    /// From entries that stand. Of two for one thing (two origins, or set and file) the first is told.
    /// Entries of unknown scopes bind nothing: whoever merged them has said so.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a v1::KillEntry>) -> Self {
        let mut killed = Self::default();
        for entry in entries {
            killed.add(entry);
        }
        killed
    }

    fn add(&mut self, entry: &v1::KillEntry) {
        let by =
            |scope| Disabled { scope, reason: entry.reason.as_str().into(), since: entry.since_unix_ms, sent: false };
        let name: Box<str> = entry.name.as_str().into();
        match v1::Scope::try_from(entry.scope) {
            Ok(v1::Scope::Tool) => {
                if !entry.backend.is_empty() && !entry.own.is_empty() {
                    let of_backend = self.own.entry(entry.backend.as_str().into()).or_default();
                    of_backend.entry(entry.own.as_str().into()).or_insert_with(|| by(Scope::Tool));
                }
                self.tools.entry(name).or_insert_with(|| by(Scope::Tool));
            }
            Ok(v1::Scope::Backend) => {
                self.backends.entry(name).or_insert_with(|| by(Scope::Backend));
            }
            Ok(v1::Scope::Client) => {
                self.clients.entry(name).or_insert_with(|| by(Scope::Client));
            }
            Ok(v1::Scope::Role) => {
                self.roles.entry(name).or_insert_with(|| by(Scope::Role));
            }
            Ok(v1::Scope::All) => {
                self.all.get_or_insert_with(|| by(Scope::All));
            }
            Ok(v1::Scope::Unspecified) | Err(_) => return,
        }
        self.any = true;
    }

    /// How many things are refused, by scope: for people who watch, not for a decision.
    pub fn counts(&self) -> [(Scope, usize); 5] {
        [
            (Scope::All, usize::from(self.all.is_some())),
            (Scope::Backend, self.backends.len()),
            (Scope::Client, self.clients.len()),
            (Scope::Role, self.roles.len()),
            (Scope::Tool, self.tools.len()),
        ]
    }

    pub fn caller(&self, principal: &Principal) -> Option<&Disabled> {
        if let Some(all) = &self.all {
            return Some(all);
        }
        self.clients.get(&principal.client).or_else(|| principal.roles.iter().find_map(|role| self.roles.get(role)))
    }

    pub fn target(&self, target: &Target) -> Option<&Disabled> {
        self.named(target.kind, &target.exposed, &target.backend_name, &target.own)
    }

    fn named(&self, kind: Kind, exposed: &str, backend: &str, own: &str) -> Option<&Disabled> {
        // A prompt or a resource is no tool, whatever it is called.
        let tool = match kind {
            Kind::Tool => self.tools.get(exposed).or_else(|| self.own.get(backend)?.get(own)),
            Kind::Prompt | Kind::Resource | Kind::Template => None,
        };
        tool.or_else(|| self.backends.get(backend))
    }

    /// All five scopes.
    pub fn judges(&self, principal: &Principal, target: &Target) -> Option<&Disabled> {
        if !self.any {
            return None;
        }
        self.caller(principal).or_else(|| self.target(target))
    }
}

/// Handle on what is killed now; cheap to clone. `kill::Kills` alone swaps it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Standing>);

#[derive(Debug, Default)]
struct Standing {
    killed: ArcSwap<Killed>,
    swapped: watch::Sender<()>,
}

impl Gate {
    /// All, the client, its roles. Errors: which of them, for `Denial::Disabled`.
    pub fn caller(&self, principal: &Principal) -> Result<(), Disabled> {
        let killed = self.0.killed.load();
        if !killed.any {
            return Ok(());
        }
        killed.caller(principal).map_or(Ok(()), |by| Err(by.clone()))
    }

    /// A tool by either of its names, and the backend of whatever it is.
    pub fn target(&self, target: &Target) -> Result<(), Disabled> {
        let killed = self.0.killed.load();
        if !killed.any {
            return Ok(());
        }
        killed.target(target).map_or(Ok(()), |by| Err(by.clone()))
    }

    /// All five scopes: the question that binds.
    pub fn judges(&self, principal: &Principal, target: &Target) -> Option<Disabled> {
        self.0.killed.load().judges(principal, target).cloned()
    }

    /// The client and its backend, where no target is named: what a server asks outside of a call.
    pub fn judges_backend(&self, principal: &Principal, backend: &str) -> Option<Disabled> {
        let killed = self.0.killed.load();
        if !killed.any {
            return None;
        }
        killed.caller(principal).or_else(|| killed.backends.get(backend)).cloned()
    }

    /// One look at what stands, for questions about many calls.
    pub fn load_full(&self) -> Arc<Killed> {
        self.0.killed.load_full()
    }

    /// Changes when another set stands. What stands is read after it.
    pub fn swaps(&self) -> watch::Receiver<()> {
        self.0.swapped.subscribe()
    }

    #[cfg(test)]
    pub fn of(killed: Killed) -> Self {
        let gate = Self::default();
        gate.swap(killed);
        gate
    }

    pub(super) fn swap(&self, killed: Killed) {
        self.0.killed.store(Arc::new(killed));
        self.0.swapped.send_replace(());
    }
}

/// Handle on the revoked tokens; cheap to clone.
#[derive(Clone, Default)]
pub struct Revoked(Arc<Tokens>);

#[derive(Default)]
struct Tokens {
    /// jti → issuers; an empty issuer stands for any.
    by_jti: ArcSwap<HashMap<Box<str>, HashSet<Box<str>>>>,
    generation: AtomicU64,
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoked").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Revoked {
    /// Asked at each use of a token, never baked into a cache.
    pub fn is_revoked(&self, issuer: &str, jti: &str) -> bool {
        let tokens = self.0.by_jti.load();
        !tokens.is_empty() && tokens.get(jti).is_some_and(|of| of.contains("") || of.contains(issuer))
    }

    /// Another number after each change. Read it before a verification whose result is to be kept.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Relaxed)
    }

    pub(super) fn swap<'a>(&self, revocations: impl IntoIterator<Item = &'a v1::Revocation>) {
        let mut by_jti: HashMap<Box<str>, HashSet<Box<str>>> = HashMap::new();
        for revocation in revocations {
            by_jti.entry(revocation.jti.as_str().into()).or_default().insert(revocation.issuer.as_str().into());
        }
        if **self.0.by_jti.load() != by_jti {
            self.0.by_jti.store(Arc::new(by_jti));
            self.0.generation.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scope: v1::Scope, name: &str) -> v1::KillEntry {
        v1::KillEntry {
            scope: scope.into(),
            name: name.into(),
            on: true,
            reason: "leak".into(),
            ..v1::KillEntry::default()
        }
    }

    fn principal() -> Principal {
        Principal {
            issuer: "sentinel".into(),
            client: "claude".into(),
            roles: ["analyst".into(), "ops".into()].into(),
            jti: None,
            until: i64::MAX,
        }
    }

    #[test]
    fn a_tool_is_refused_by_either_of_its_names() {
        let mut killed = entry(v1::Scope::Tool, "n8n__run");
        killed.backend = "n8n".into();
        killed.own = "run".into();
        let killed = Killed::of([&killed]);
        assert_eq!(killed.named(Kind::Tool, "n8n__run", "other", "x").unwrap().scope, Scope::Tool);
        assert_eq!(killed.named(Kind::Tool, "n8n__renamed", "n8n", "run").unwrap().scope, Scope::Tool);
        assert!(killed.named(Kind::Tool, "n8n__stop", "n8n", "stop").is_none());
        assert!(killed.named(Kind::Tool, "other__run", "other", "run").is_none());
        assert!(killed.named(Kind::Prompt, "n8n__run", "n8n", "run").is_none(), "a prompt is no tool");
    }

    #[test]
    fn a_backend_is_refused_with_all_that_it_offers() {
        let killed = Killed::of([&entry(v1::Scope::Backend, "n8n")]);
        for kind in Kind::ALL {
            assert_eq!(killed.named(kind, "a", "n8n", "a").unwrap().scope, Scope::Backend);
            assert!(killed.named(kind, "a", "n9n", "a").is_none());
        }
    }

    #[test]
    fn a_caller_is_refused_as_client_by_any_role_and_with_all() {
        for (scope, name, told) in [
            (v1::Scope::All, "", Scope::All),
            (v1::Scope::Client, "claude", Scope::Client),
            (v1::Scope::Role, "ops", Scope::Role),
        ] {
            let gate = Gate::default();
            assert_eq!(gate.caller(&principal()), Ok(()));
            gate.swap(Killed::of([&entry(scope, name)]));
            let refused = gate.caller(&principal()).unwrap_err();
            assert_eq!((refused.scope, &*refused.reason), (told, "leak"));
        }
    }

    #[test]
    fn a_scope_of_a_later_version_binds_nothing() {
        let mut later = entry(v1::Scope::All, "");
        later.scope = 99;
        let gate = Gate::default();
        gate.swap(Killed::of([&later]));
        assert_eq!(gate.caller(&principal()), Ok(()));
    }

    #[test]
    fn a_revocation_without_an_issuer_is_for_any_and_each_change_is_another_generation() {
        let revocation = |jti: &str, issuer: &str| v1::Revocation {
            jti: jti.into(),
            issuer: issuer.into(),
            ..v1::Revocation::default()
        };
        let revoked = Revoked::default();
        let first = revoked.generation();
        revoked.swap(&[revocation("a", ""), revocation("b", "one")]);
        assert!(revoked.is_revoked("whoever", "a"));
        assert!(revoked.is_revoked("one", "b"));
        assert!(!revoked.is_revoked("two", "b"));
        let second = revoked.generation();
        assert_ne!(first, second);
        revoked.swap(&[revocation("a", ""), revocation("b", "one")]);
        assert_eq!(revoked.generation(), second);
    }
}

//! What this plane makes of a snapshot: roles, limits, rules, keys, backends' definitions. Immutable.
//!
//! `Policy::build` may be slow and may fail; reading never does. It starts no process and opens no connection.
//! `access` is the one decision of who may see and use what: for lists, calls and deliveries alike.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sentinel_proto::v1::{self, ArgumentMode};

use self::{parked::ParkedLimits, quotas::Quotas};
use super::{
    pattern::{Pattern, Selection},
    resolve::{Resolver, Unresolved},
    virtual_server::VirtualServer,
};
use crate::{
    audit::arguments::{Arguments, Show},
    backend::spec::BackendSpec,
    call::{Kind, Principal},
    catalogue::schema::Schema,
    stages::authn::{AuthPolicy, KeyProblem},
};

pub mod grounds;
pub mod parked;
mod quotas;

pub type Revision = u64;

#[derive(Debug)]
pub struct Policy {
    pub revision: Revision,
    pub digest: [u8; 32],
    pub gateway: Gateway,
    pub auth: AuthPolicy,
    pub separator: Box<str>,
    pub keep_listed: Duration,
    pub arguments: ArgumentMode,
    pub pinning: v1::Pinning,
    /// How calls' arguments enter their records.
    pub record_arguments: Arguments,
    pub kills: v1::KillList,
    /// In the file's order.
    pub backends: Vec<PolicyBackend>,
    /// Backends that can't be built here and are off (`--allow-degraded`), with why.
    pub degraded: Vec<(Arc<str>, String)>,
    pub virtual_servers: Vec<VirtualServer>,
    pub per_client: Quota,
    roles: foldhash::HashMap<Box<str>, Role>,
    default_role: Option<Box<str>>,
    quotas: Quotas,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub listen: Box<str>,
    pub allowed_origins: Vec<Box<str>>,
    pub allowed_hosts: Vec<Box<str>>,
    pub max_request_bytes: usize,
    pub max_in_flight: usize,
    pub drain: Duration,
    pub keepalive: Duration,
    pub parked: ParkedLimits,
    /// How long calls go on without news of the control plane; none: for ever.
    pub max_staleness: Option<Duration>,
}

/// A token bucket's measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub requests: u32,
    pub per_secs: u32,
    pub burst: u32,
}

/// One backend: what its link runs by, and what the catalogue makes of it.
#[derive(Debug)]
pub struct PolicyBackend {
    pub spec: Arc<BackendSpec>,
    pub prefix: Box<str>,
    pub rename: HashMap<Box<str>, Box<str>>,
    pub hide: Vec<Pattern>,
    pub describe: HashMap<Box<str>, Box<str>>,
    pub timeout: Duration,
    pub timeouts: HashMap<Box<str>, Duration>,
    pub progress_renews: bool,
    pub max_timeout: Duration,
}

#[derive(Debug)]
struct Role {
    allow: Selection,
    deny: Selection,
    rules: Vec<Rule>,
}

/// The fine print of a role: what arguments a tool may be given.
#[derive(Debug)]
pub struct Rule {
    /// As the configuration names it.
    pub name: Arc<str>,
    pub schema: Schema,
    tool: Pattern,
}

/// What a principal may do with a name.
#[derive(Debug)]
pub enum Access<'p> {
    Hidden,
    Open,
    Ruled(Rules<'p>),
}

/// The rules of each role that allows the tool: a call passes if all rules of at least one of them hold.
#[derive(Debug)]
pub struct Rules<'p> {
    policy: &'p Policy,
    principal: &'p Principal,
    name: &'p str,
}

impl<'p> Rules<'p> {
    /// The rule that does not hold, of the last role that was tried; `None` where all rules of one role hold.
    pub fn broken(&self, arguments: &serde_json::Value) -> Option<Arc<str>> {
        let mut broken = None;
        for mut rules in self.by_role() {
            broken = Some(Arc::clone(&rules.find(|rule| !rule.schema.is_valid(arguments))?.name));
        }
        broken
    }

    /// For each role that allows the tool, its rules that match it.
    pub fn by_role(&self) -> impl Iterator<Item = impl Iterator<Item = &'p Rule>> {
        let name = self.name;
        self.policy
            .roles_of(self.principal)
            .filter(move |role| role.allow.selects(Kind::Tool, name))
            .map(move |role| role.rules.iter().filter(move |rule| rule.tool.matches(name)))
    }
}

impl Role {
    /// Whether its fine print says anything of this name: it is about tools alone.
    fn rules(&self, kind: Kind, name: &str) -> bool {
        kind == Kind::Tool && self.rules.iter().any(|rule| rule.tool.matches(name))
    }
}

impl Policy {
    /// The roles of the principal that this policy knows; the default role where it knows none.
    fn roles_of<'p>(&'p self, principal: &'p Principal) -> impl Iterator<Item = &'p Role> {
        let known = principal.roles.iter().filter_map(|name| self.roles.get(name));
        let mut known = known.peekable();
        let default = match known.peek() {
            Some(_) => None,
            None => self.default_role.as_ref().and_then(|name| self.roles.get(name)),
        };
        known.chain(default)
    }

    /// Names of the principal's roles that decide here, sorted: what its listing depends on.
    pub fn deciding_roles<'p>(&'p self, principal: &'p Principal) -> Vec<&'p str> {
        let mut names: Vec<&str> =
            principal.roles.iter().filter(|name| self.roles.contains_key(*name)).map(|name| &**name).collect();
        if names.is_empty() {
            names.extend(self.default_role.as_deref());
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A good token without a role that is known here, where roles come as scopes: its client can ask for more.
    pub fn lacks_scope(&self, principal: &Principal) -> bool {
        self.auth.has_scopes() && self.auth.resource().is_some() && self.roles_of(principal).next().is_none()
    }

    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(|name| &**name)
    }

    /// The one decision. The name is judged as such, whether it exists or not: so hidden and unknown cost the same.
    /// What any role denies is hidden, else what any allows is visible.
    pub fn access<'p>(&'p self, principal: &'p Principal, kind: Kind, name: &'p str) -> Access<'p> {
        let (mut allowed, mut denied, mut free) = (false, false, false);
        for role in self.roles_of(principal) {
            denied |= role.deny.selects(kind, name);
            if role.allow.selects(kind, name) {
                allowed = true;
                free |= !role.rules(kind, name);
            }
        }
        match (allowed && !denied, free) {
            (false, _) => Access::Hidden,
            (true, true) => Access::Open,
            (true, false) => Access::Ruled(Rules { policy: self, principal, name }),
        }
    }

    /// False: whatever there is of this kind, this principal sees nothing of it.
    pub fn allows_any(&self, principal: &Principal, kind: Kind) -> bool {
        let mut allowed = false;
        for role in self.roles_of(principal) {
            if role.deny.selects_all(kind) {
                return false;
            }
            allowed |= role.allow.selects_any(kind);
        }
        allowed
    }

    pub fn quota_of(&self, kind: Kind, exposed: &str) -> Quota {
        self.quotas.of(kind, exposed)
    }

    pub fn backend(&self, name: &str) -> Option<&PolicyBackend> {
        self.backends.iter().find(|backend| &*backend.spec.name == name)
    }
}

/// One reason for which a snapshot can't be served by this plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Empty: not about a backend.
    pub backend: String,
    pub key: String,
    pub message: String,
}

/// What the builder may look at beside the snapshot.
#[derive(Debug)]
pub struct Ground<'a> {
    pub resolver: &'a Resolver,
    /// `--allow-anonymous` was given and the MCP listener is on loopback.
    pub may_be_anonymous: bool,
    /// A backend that can't be built is off, instead of a reason to refuse all.
    pub allow_degraded: bool,
}

impl Policy {
    /// Everything that is wrong, at once. Missing variables and files, schemas and keys that don't build.
    pub fn build(
        revision: Revision,
        digest: [u8; 32],
        snapshot: v1::Snapshot,
        ground: &Ground<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if snapshot.format != 1 {
            let message =
                format!("its format is {}, and this plane reads format 1: upgrade the plane", snapshot.format);
            return Err(vec![Problem { backend: String::new(), key: "format".into(), message }]);
        }
        let auth = auth(snapshot.auth.unwrap_or_default(), ground, &mut problems);
        let roles = roles(snapshot.roles, &mut problems);
        let (mut backends, mut degraded) = (Vec::new(), Vec::new());
        let shared = Shared {
            breaker: snapshot.circuit_breaker.unwrap_or_default(),
            health: snapshot.health.unwrap_or_default(),
        };
        for definition in snapshot.backends {
            let name = definition.name.clone();
            match backend(definition, &shared, ground.resolver) {
                Ok(backend) => backends.push(backend),
                Err(faults) if ground.allow_degraded => {
                    let why =
                        faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect::<Vec<_>>();
                    degraded.push((name.into(), why.join("; ")));
                }
                Err(faults) => problems.extend(faults.into_iter().map(|fault| Problem {
                    backend: name.clone(),
                    key: fault.key,
                    message: fault.message,
                })),
            }
        }
        let Some(auth) = auth.filter(|_| problems.is_empty()) else { return Err(problems) };
        let gateway = snapshot.gateway.unwrap_or_default();
        let limits = snapshot.rate_limit.unwrap_or_default();
        let catalog = snapshot.catalog.unwrap_or_default();
        let audit = snapshot.audit.unwrap_or_default();
        Ok(Self {
            revision,
            digest,
            gateway: Gateway {
                parked: ParkedLimits::read(&gateway),
                listen: gateway.listen.into(),
                allowed_origins: gateway.allowed_origins.into_iter().map(Into::into).collect(),
                allowed_hosts: gateway.allowed_hosts.into_iter().map(Into::into).collect(),
                max_request_bytes: usize::try_from(gateway.max_request_bytes).unwrap_or(usize::MAX),
                max_in_flight: gateway.max_in_flight as usize,
                drain: Duration::from_secs(gateway.drain_secs.into()),
                keepalive: Duration::from_secs(gateway.keepalive_secs.max(1).into()),
                max_staleness: (gateway.max_staleness_secs > 0)
                    .then(|| Duration::from_secs(gateway.max_staleness_secs.into())),
            },
            default_role: auth.default_role.clone(),
            auth: auth.policy,
            separator: catalog.separator.into(),
            keep_listed: Duration::from_secs(catalog.keep_listed_secs.into()),
            arguments: ArgumentMode::try_from(snapshot.arguments).unwrap_or(ArgumentMode::Enforce),
            pinning: snapshot.pinning.unwrap_or_default(),
            record_arguments: Arguments::new(
                match v1::ArgumentRecord::try_from(audit.arguments) {
                    Ok(v1::ArgumentRecord::Full) => Show::Full,
                    Ok(v1::ArgumentRecord::Hash) => Show::Hash,
                    Ok(v1::ArgumentRecord::None) => Show::Nothing,
                    Ok(v1::ArgumentRecord::Redacted | v1::ArgumentRecord::Unspecified) | Err(_) => Show::Redacted,
                },
                audit.redact_keys.iter().map(String::as_str),
            ),
            kills: snapshot.kill_switch.unwrap_or_default(),
            backends,
            degraded,
            virtual_servers: snapshot.virtual_servers.into_iter().map(VirtualServer::new).collect(),
            per_client: Quota::read(limits.per_client),
            roles,
            quotas: Quotas::new(limits.default, limits.tools),
        })
    }
}

struct Auth {
    policy: AuthPolicy,
    default_role: Option<Box<str>>,
}

fn auth(auth: v1::Auth, ground: &Ground<'_>, problems: &mut Vec<Problem>) -> Option<Auth> {
    if auth.anonymous && !ground.may_be_anonymous {
        problems.push(Problem {
            backend: String::new(),
            key: "auth.mode".into(),
            message: "mode \"none\" needs --allow-anonymous on this plane, and a listener on loopback".into(),
        });
    }
    let default_role = (!auth.default_role.is_empty()).then(|| auth.default_role.clone().into_boxed_str());
    match AuthPolicy::build(auth, ground.resolver) {
        Ok(policy) => Some(Auth { policy, default_role }),
        Err(faults) => {
            problems.extend(faults.into_iter().map(|KeyProblem { key, message }| Problem {
                backend: String::new(),
                key,
                message,
            }));
            None
        }
    }
}

fn roles(roles: Vec<v1::Role>, problems: &mut Vec<Problem>) -> foldhash::HashMap<Box<str>, Role> {
    roles
        .into_iter()
        .map(|role| {
            let rules = role.rules.iter().filter_map(|rule| match Schema::compile(&rule.schema) {
                Ok(schema) => Some(Rule { name: rule.name.as_str().into(), schema, tool: Pattern::new(&rule.tool) }),
                Err(message) => {
                    problems.push(Problem { backend: String::new(), key: rule.name.clone(), message });
                    None
                }
            });
            let rules = rules.collect();
            (
                role.name.into_boxed_str(),
                Role { allow: Selection::new(&role.allow), deny: Selection::new(&role.deny), rules },
            )
        })
        .collect()
}

struct Shared {
    breaker: v1::CircuitBreaker,
    health: v1::Health,
}

fn backend(definition: v1::Backend, shared: &Shared, resolver: &Resolver) -> Result<PolicyBackend, Vec<Unresolved>> {
    let spec = super::resolve::backend_spec(&definition, &shared.breaker, &shared.health, resolver)?;
    let secs = |secs: u32| Duration::from_secs(secs.into());
    let pairs = |pairs: Vec<v1::Pair>| pairs.into_iter().map(|pair| (pair.key.into(), pair.value.into())).collect();
    Ok(PolicyBackend {
        spec: Arc::new(spec),
        prefix: definition.prefix.into(),
        rename: pairs(definition.rename),
        hide: definition.hide.iter().map(|pattern| Pattern::new(pattern)).collect(),
        describe: pairs(definition.describe),
        timeout: secs(definition.timeout_secs),
        timeouts: definition.timeouts.into_iter().map(|timeout| (timeout.tool.into(), secs(timeout.secs))).collect(),
        progress_renews: definition.progress_renews_timeout,
        max_timeout: secs(definition.max_timeout_secs),
    })
}

//! What this plane would decide by another configuration, for `config plan`: asked about calls of the past, judged by
//! the code that judges calls (`Policy::build`, `Policy::access`, the roles' rules, the kill lists).
//!
//! It changes nothing and starts nothing. Limits, breakers and the state of backends are of their moment: not asked here.

use prost::Message as _;
use sentinel_proto::v1::{self, Judge, JudgeAsk};
use serde::Serialize;
use serde_json::Value;

use super::{
    View,
    policy::{Access, Ground, Policy},
    resolve::Resolver,
};
use crate::{
    call::Principal,
    kill::{entries_of, gate::Killed},
};

/// One answer, a line of JSON each, in the order of the asks.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// As an audit row would name it; empty: it would pass. `unjudged`: a rule decides, and its arguments are not known.
    pub kind: String,
    /// What refuses it.
    pub rule: String,
}

/// Errors: why the configuration can't be built here, one sentence.
pub fn judge(asked: &Judge, view: Option<&View>) -> Result<Vec<Judgement>, String> {
    let policy = policy(&asked.snapshot)?;
    let listed = entries_of(&policy.kills);
    let killed = Killed::of(&listed);
    Ok(asked.asks.iter().map(|ask| one(ask, &policy, &killed, view)).collect())
}

/// Who would call.
pub fn principal(ask: &JudgeAsk) -> Principal {
    Principal {
        issuer: ask.issuer.as_str().into(),
        client: ask.client.as_str().into(),
        roles: ask.roles.iter().map(|role| role.as_str().into()).collect(),
        jti: None,
        until: i64::MAX,
    }
}

/// A snapshot as this plane reads it. Backends that can't be built are off: who may call what is asked here, not whether
/// it would work. Errors: why it can't be built, one sentence.
pub fn policy(snapshot: &[u8]) -> Result<Policy, String> {
    let snapshot = v1::Snapshot::decode(snapshot).map_err(|fault| format!("no snapshot: {fault}"))?;
    let resolver = Resolver::of_environment();
    let ground = Ground { resolver: &resolver, may_be_anonymous: true, allow_degraded: true };
    Policy::build(0, [0; 32], snapshot, &ground).map_err(|problems| {
        let each = problems.iter().map(|problem| format!("{} {}: {}", problem.backend, problem.key, problem.message));
        each.collect::<Vec<_>>().join("; ")
    })
}

fn one(ask: &JudgeAsk, policy: &Policy, killed: &Killed, view: Option<&View>) -> Judgement {
    let told = |kind: &str, rule: String| Judgement { kind: kind.to_owned(), rule };
    let principal = principal(ask);
    if let Some(by) = killed.caller(&principal) {
        return told("disabled", format!("[kill_switch] {}", by.scope.as_str()));
    }
    let rules = match policy.access(&principal, crate::call::Kind::Tool, &ask.tool) {
        Access::Hidden => {
            return told("hidden_tool", policy.why_hidden(&principal, crate::call::Kind::Tool, &ask.tool));
        }
        Access::Open => None,
        Access::Ruled(rules) => Some(rules),
    };
    let tool = view.and_then(|view| view.catalogue.find(crate::call::Kind::Tool, &ask.tool));
    if let Some(by) = tool.and_then(|tool| killed.judges(&principal, tool)) {
        return told("disabled", format!("[kill_switch] {}", by.scope.as_str()));
    }
    let Some(rules) = rules else { return told("", String::new()) };
    match serde_json::from_str::<Value>(&ask.arguments) {
        Err(_) => told("unjudged", "its arguments are not in the audit as they were".to_owned()),
        Ok(arguments) => match rules.broken(&arguments) {
            Some(rule) => told("forbidden", rule.to_string()),
            None => told("", String::new()),
        },
    }
}

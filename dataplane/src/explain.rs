//! What would be decided of a call that is not made, stage by stage, for `sentinelctl explain`: by the functions that
//! decide about calls, in the order of `pipeline.rs`.
//!
//! Nothing is taken, counted, sent or recorded. What only sending can tell (the backend's answer, its time) is not said.

use std::sync::Arc;

use sentinel_proto::v1::{self, JudgeAsk};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{
    backend::lease,
    call::{Ask, Principal},
    catalogue::{Target, schema::Check},
    denial::{Denial, Failure, Limit, Told},
    kill::gate::Killed,
    plane::Plane,
    stages::{arguments, limits, rules, visible},
    view::{
        View, judge,
        policy::{Access, Policy, Quota},
    },
    wire::{self, scan},
};

/// The stages as operators are told them, and as records of calls that ended early name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Ready,
    CallerKills,
    ClientLimits,
    Visible,
    TargetKills,
    TargetLimits,
    Arguments,
    Rules,
    Record,
    Dispatch,
}

impl Stage {
    /// In the pipeline's order.
    const ALL: [Self; 10] = [
        Self::Ready,
        Self::CallerKills,
        Self::ClientLimits,
        Self::Visible,
        Self::TargetKills,
        Self::TargetLimits,
        Self::Arguments,
        Self::Rules,
        Self::Record,
        Self::Dispatch,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::CallerKills => "caller_kills",
            Self::ClientLimits => "client_limits",
            Self::Visible => "visible",
            Self::TargetKills => "target_kills",
            Self::TargetLimits => "target_limits",
            Self::Arguments => "arguments",
            Self::Rules => "rules",
            Self::Record => "record",
            Self::Dispatch => "dispatch",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    NotReached,
    Passed,
    Refused,
    Unjudged,
}

/// What is said of one stage.
#[derive(Debug, Serialize)]
struct Step {
    stage: Stage,
    verdict: Verdict,
    why: String,
    /// Lines of the configuration, as it calls them.
    rules: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Error {
    code: i32,
    message: String,
    data: Value,
}

/// One call that is not made.
#[derive(Debug, Default, Serialize)]
struct Explanation {
    revision: u64,
    /// As its audit row would say; empty: it would be sent; `unjudged`: its arguments decide, and are not known.
    kind: &'static str,
    error: Option<Error>,
    backend: String,
    stages: Vec<Step>,
}

/// A line of JSON for each ask, in their order. Errors: why none can be explained, one sentence.
pub fn explain(plane: &Plane, asked: &v1::Explain) -> Result<Vec<String>, String> {
    let line = |explanation: &Explanation| serde_json::to_string(explanation).unwrap_or_default();
    if !asked.snapshot.is_empty() {
        let policy = judge::policy(&asked.snapshot)?;
        return Ok(asked.asks.iter().map(|ask| line(&by_lines(ask, &policy))).collect());
    }
    let view = plane.views.load_full().ok_or("this plane has no configuration yet")?;
    let killed = plane.gate.load_full();
    let of = |ask: &JudgeAsk| {
        let endpoint = (!ask.server.is_empty()).then_some(ask.server.as_str());
        let view = view.at(endpoint).ok_or_else(|| format!("this plane has no virtual server {:?}", ask.server))?;
        Ok(line(&now(ask, plane, view, &killed)))
    };
    asked.asks.iter().map(of).collect()
}

/// By which lines each stage goes; nothing is decided.
fn by_lines(ask: &JudgeAsk, policy: &Policy) -> Explanation {
    let principal = judge::principal(ask);
    let what = match ask.method.as_str() {
        "prompts/get" => Ask::GetPrompt,
        "resources/read" => Ask::ReadResource,
        _ => Ask::CallTool,
    };
    let lines = Lines { policy, principal: &principal, ask: what, name: &ask.tool };
    let step = |stage| {
        let (why, rules) = lines.of(stage);
        Step { stage, verdict: Verdict::Passed, why, rules }
    };
    Explanation { stages: Stage::ALL.map(step).into(), ..Explanation::default() }
}

/// What would be decided now.
fn now(ask: &JudgeAsk, plane: &Plane, view: &View, killed: &Killed) -> Explanation {
    let principal = judge::principal(ask);
    let asked = Asked { plane, view, killed, principal: &principal, name: ask.tool.as_str().into() };
    let explanation = Explanation { revision: view.stamp.revision, ..Explanation::default() };
    let mut way = Way { asked: &asked, explanation };
    let _ended = asked.go(ask, &mut way);
    let reached = way.explanation.stages.len();
    way.explanation.stages.extend(Stage::ALL.into_iter().skip(reached).map(|stage| Step {
        stage,
        verdict: Verdict::NotReached,
        why: String::new(),
        rules: Vec::new(),
    }));
    way.explanation
}

struct Asked<'a> {
    plane: &'a Plane,
    view: &'a View,
    killed: &'a Killed,
    principal: &'a Principal,
    name: Arc<str>,
}

impl Asked<'_> {
    /// The pipeline's stages, in its order. None: one of them refuses.
    fn go(&self, ask: &JudgeAsk, way: &mut Way<'_>) -> Option<()> {
        let Self { plane, view, killed, principal, name } = self;
        let policy = &*view.policy;
        let what = (Ask::CallTool, name);
        way.pass(Stage::Ready, plane.not_ready().map_or(Ok(()), |reason| Err(Denial::NotReady { reason })))?;
        way.pass(Stage::CallerKills, killed.caller(principal).map_or(Ok(()), |by| Err(Denial::Disabled(by.clone()))))?;
        let running = plane.in_flight.len();
        way.pass(Stage::ClientLimits, limits::client::look(policy, principal, &plane.buckets, running))?;
        let target = view.catalogue.target(what.0, name);
        let target = way.pass(Stage::Visible, visible::shown(policy, principal, what, target))?;
        way.explanation.backend = target.backend_name.to_string();
        let held = target.may_be_used().map_err(Denial::Disabled);
        let killed = || killed.target(target).map_or(Ok(()), |by| Err(Denial::Disabled(by.clone())));
        way.pass(Stage::TargetKills, held.and_then(|()| killed()))?;
        way.pass(Stage::TargetLimits, limits::target::look(principal, target, &plane.buckets))?;
        self.arguments(ask, target, way)?;
        let room = plane.audit.spool.reserve().map(drop);
        way.pass(Stage::Record, room.map_err(|_| Denial::AuditUnavailable { sent: false }))?;
        way.pass(Stage::Dispatch, lease::look(&plane.backends, plane.buckets.client(principal), target))
    }

    /// Schema and rules, on the bytes that would be sent.
    fn arguments(&self, ask: &JudgeAsk, target: &Target, way: &mut Way<'_>) -> Option<()> {
        let (policy, principal, what) = (&*self.view.policy, self.principal, (Ask::CallTool, &self.name));
        let access = what.0.access(policy, principal, &self.name);
        if ask.arguments.is_empty() {
            let reads = matches!(target.check, Check::Enforced(_));
            way.depends(Stage::Arguments, reads);
            way.depends(Stage::Rules, matches!(access, Access::Ruled(_)));
            return Some(());
        }
        let body = match body(&ask.tool, &ask.arguments) {
            Ok(body) => body,
            Err(denial) => return way.pass(Stage::Arguments, Err(denial)),
        };
        let read = body.read(&access, &target.check);
        let read = way.pass(Stage::Arguments, read)?;
        if read.misfit
            && let Some(step) = way.explanation.stages.last_mut()
        {
            step.why = "they do not fit the tool's schema, and go on: [schema] arguments is \"warn\"".into();
        }
        way.pass(Stage::Rules, rules::hold(policy, principal, what, read.arguments.as_ref()))
    }
}

/// A call's message, as a client would send it.
struct Body {
    bytes: Vec<u8>,
    scanned: scan::Scanned,
}

impl Body {
    fn read(&self, access: &Access<'_>, check: &Check) -> Result<arguments::Read, Denial> {
        let bytes = self.scanned.arguments.map(|span| span.get(&self.bytes));
        arguments::read(arguments::Sent { bytes, fault: self.scanned.arguments_fault.as_ref() }, access, check)
    }
}

/// Errors: `Parse` or `InvalidRequest`, as for the client that sent it.
fn body(tool: &str, arguments: &str) -> Result<Body, Denial> {
    let no_json = |_| Denial::from(wire::Fault::Empty);
    let arguments: &RawValue = serde_json::from_str(arguments).map_err(no_json)?;
    let params = serde_json::json!({ "name": tool }).to_string();
    let named = params.trim_end_matches('}');
    let bytes = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{named},"arguments":{}}}}}"#,
        arguments.get()
    );
    let bytes = bytes.into_bytes();
    match scan::body(&bytes)? {
        scan::Body::One(scanned) => Ok(Body { bytes, scanned }),
        scan::Body::Batch(_) => Err(Denial::Internal),
    }
}

/// The stages that were gone, and what ended it.
struct Way<'a> {
    asked: &'a Asked<'a>,
    explanation: Explanation,
}

impl Way<'_> {
    fn pass<T>(&mut self, stage: Stage, decided: Result<T, impl Into<Refused>>) -> Option<T> {
        let Asked { view, principal, name, .. } = self.asked;
        let lines = Lines { policy: &view.policy, principal, ask: Ask::CallTool, name };
        let (why, rules) = lines.of(stage);
        match decided {
            Ok(passed) => {
                self.explanation.stages.push(Step { stage, verdict: Verdict::Passed, why, rules });
                Some(passed)
            }
            Err(refused) => {
                let Refused { kind, told, rule } = refused.into();
                let (why, rules) = match kind {
                    "hidden_tool" => lines.hiding(),
                    "unknown_tool" => missing(view.endpoint.as_deref()),
                    _ => (told.message.to_string(), rule.map_or(rules, |rule| vec![rule])),
                };
                self.explanation.stages.push(Step { stage, verdict: Verdict::Refused, why, rules });
                self.explanation.kind = kind;
                self.explanation.error = Some(error(told));
                None
            }
        }
    }

    /// A stage that reads arguments, where there are none to read.
    fn depends(&mut self, stage: Stage, reads: bool) {
        let _passed = self.pass(stage, Ok::<(), Denial>(()));
        if reads && let Some(step) = self.explanation.stages.last_mut() {
            step.verdict = Verdict::Unjudged;
            "it depends on the arguments, which were not given".clone_into(&mut step.why);
            self.explanation.kind = "unjudged";
        }
    }
}

/// Why there is no such tool at this endpoint.
fn missing(endpoint: Option<&str>) -> (String, Vec<String>) {
    let Some(server) = endpoint else { return ("no backend offers a tool of this name".to_owned(), Vec::new()) };
    let why = format!("the virtual server {server} has no tool of this name");
    (why, vec![format!("virtual_servers.{server}")])
}

/// There is no call, so its error has no request id.
fn error(told: Told) -> Error {
    let mut data: Value = serde_json::from_str(&told.data).unwrap_or_default();
    if let Some(members) = data.as_object_mut() {
        members.remove("requestId");
    }
    Error { code: told.code, message: told.message.into_owned(), data }
}

/// What ends it here.
struct Refused {
    kind: &'static str,
    told: Told,
    /// The line that does, where it is another than the stage's own.
    rule: Option<String>,
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        let rule = match &denial {
            Denial::Forbidden { rule } => Some(rule.to_string()),
            Denial::Overloaded | Denial::RateLimited { limit: Limit::Concurrency, .. } => {
                Some("gateway.max_in_flight".to_owned())
            }
            _ => None,
        };
        Self { kind: denial.row().recorded, told: denial.told(""), rule }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { kind: failure.row().recorded, told: failure.told(""), rule: None }
    }
}

/// By which lines of a configuration a call is judged.
struct Lines<'a> {
    policy: &'a Policy,
    principal: &'a Principal,
    ask: Ask,
    name: &'a str,
}

impl Lines<'_> {
    /// What a stage that lets it pass went by, in words, and which lines that are.
    fn of(&self, stage: Stage) -> (String, Vec<String>) {
        let Self { policy, principal, ask, name } = self;
        match stage {
            Stage::Ready => ("the plane serves calls".into(), Vec::new()),
            Stage::CallerKills => ("no switch stands for the client, its roles or everything".into(), Vec::new()),
            Stage::ClientLimits => {
                let share = limits::client::share(policy);
                let why = format!("{} of all that the client asks, {share} at once", quota(policy.per_client));
                (why, vec!["rate_limit.per_client".into()])
            }
            Stage::Visible => {
                let grounds = policy.grounds(principal, ask.kind(), name);
                let allow = grounds.iter().filter_map(|role| role.allow.clone());
                ("its roles show it".into(), allow.collect())
            }
            Stage::TargetKills => ("no switch stands for it or its backend".into(), Vec::new()),
            Stage::TargetLimits => {
                let why = format!("{} of the client for this name", quota(policy.quota_of(ask.kind(), name)));
                (why, vec![policy.quota_from(ask.kind(), name)])
            }
            Stage::Arguments => {
                let why = match policy.arguments {
                    v1::ArgumentMode::Off => "the tool's schema is not asked",
                    v1::ArgumentMode::Warn => "nothing in the tool's schema is enforced",
                    v1::ArgumentMode::Enforce | v1::ArgumentMode::Unspecified => "they fit the tool's schema",
                };
                (why.into(), vec!["schema.arguments".into()])
            }
            Stage::Rules => {
                let grounds = policy.grounds(principal, ask.kind(), name);
                let rules: Vec<String> =
                    grounds.iter().flat_map(|role| role.rules.iter().map(|rule| (*rule).to_owned())).collect();
                match ask.access(policy, principal, name) {
                    Access::Ruled(_) => ("the rules of a role hold".into(), rules),
                    Access::Open if rules.is_empty() => ("no rule is about it".into(), rules),
                    Access::Open => ("a role allows it without a rule".into(), Vec::new()),
                    Access::Hidden => (String::new(), rules),
                }
            }
            Stage::Record => ("there is room for its record".into(), Vec::new()),
            Stage::Dispatch => ("its backend takes calls".into(), Vec::new()),
        }
    }

    fn hiding(&self) -> (String, Vec<String>) {
        let Self { policy, principal, ask, name } = self;
        let denied: Vec<String> =
            policy.grounds(principal, ask.kind(), name).into_iter().filter_map(|role| role.deny).collect();
        let why = match denied.as_slice() {
            [] => policy.why_hidden(principal, ask.kind(), name),
            _ => "a role denies it".to_owned(),
        };
        (why, denied)
    }
}

fn quota(quota: Quota) -> String {
    format!("{} in {} s, burst {}", quota.requests, quota.per_secs, quota.burst)
}

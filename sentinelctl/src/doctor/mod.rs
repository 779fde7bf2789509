//! `sentinelctl doctor`: what is wrong with this installation, in categories, one hint under each failure.
//!
//! It looks and changes nothing. What the control plane tells, `told.rs` judges; what lies on this machine, `here.rs`.
//! Without a control plane the local checks are made all the same.

use sentinel_proto::v1::{ConfigShowRequest, StatusRequest};
use serde_json::{Value, json};

use crate::cli::Connection;
use crate::client;
use crate::clock;
use crate::fault::Fault;
use crate::locate::{self, World};
use crate::output::Output;

mod here;
mod told;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    /// Works, and is worth a look; the exit code stays 0.
    Doubtful,
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub category: &'static str,
    pub state: State,
    pub text: String,
    /// What to do; empty where it is good.
    pub hint: String,
}

impl Check {
    fn good(category: &'static str, text: impl Into<String>) -> Self {
        Self { category, state: State::Good, text: text.into(), hint: String::new() }
    }

    fn doubtful(category: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { category, state: State::Doubtful, text: text.into(), hint: hint.into() }
    }

    fn bad(category: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { category, state: State::Bad, text: text.into(), hint: hint.into() }
    }
}

/// Looks at everything. Errors: `Failed` when a check failed; they are printed before.
pub async fn run(connection: &Connection, world: &World, output: &mut Output) -> Result<(), Fault> {
    let mut checks = Vec::new();
    let mut local = here::Facts::default();
    match Box::pin(client::connect(connection, world)).await {
        Err(fault) => {
            checks.push(Check::bad("control plane", fault.to_string(), "start it: `sentinelctl up`, or its unit"))
        }
        Ok(mut client) => match client.status(StatusRequest {}).await {
            Err(status) => {
                let fault = Fault::of_status(&status);
                checks.push(Check::bad("control plane", fault.to_string(), "see its log"));
            }
            Ok(reply) => {
                let status = reply.into_inner();
                let shown = client.config_show(ConfigShowRequest { revision: 0 }).await;
                let text = shown.map(|shown| shown.into_inner().text).unwrap_or_default();
                checks.extend(told::checks(&status, &text, clock::now_ms()));
                local.config_file = Some(status.config_file.into());
                local.listens =
                    status.planes.into_iter().map(|plane| plane.listen).filter(|at| !at.is_empty()).collect();
                local.commands = told::commands(&text);
            }
        },
    }
    local.data_dirs = locate::places(connection, world)?.into_iter().filter_map(|place| place.data_dir).collect();
    checks.extend(here::checks(&local, world, clock::now_ms()));
    report(&checks, output)
}

fn report(checks: &[Check], output: &mut Output) -> Result<(), Fault> {
    let count = |state: State| checks.iter().filter(|check| check.state == state).count();
    let (bad, doubtful) = (count(State::Bad), count(State::Doubtful));
    output.json(&json!({
        "ok": bad == 0, "bad": bad, "doubtful": doubtful,
        "checks": checks.iter().map(to_json).collect::<Vec<_>>(),
    }));
    let mut categories: Vec<&str> = Vec::new();
    for check in checks {
        if !categories.contains(&check.category) {
            categories.push(check.category);
        }
    }
    for category in categories {
        output.line(category);
        for check in checks.iter().filter(|check| check.category == category) {
            let mark = match check.state {
                State::Good => '√',
                State::Doubtful => '!',
                State::Bad => '×',
            };
            output.line(&format!("  {mark} {}", check.text.replace('\n', "\n    ")));
            if !check.hint.is_empty() {
                output.line(&format!("      → {}", check.hint));
            }
        }
    }
    if bad == 0 {
        output.line(&format!("{} checks, {doubtful} worth a look", checks.len()));
        return Ok(());
    }
    Err(Fault::Failed(format!("{bad} of {} checks failed, {doubtful} more worth a look", checks.len())))
}

fn to_json(check: &Check) -> Value {
    let state = match check.state {
        State::Good => "good",
        State::Doubtful => "doubtful",
        State::Bad => "bad",
    };
    json!({ "category": check.category, "state": state, "text": check.text, "hint": check.hint })
}

//! What a row says of how its call ended: where, and with what word of ours or of a task.

use std::borrow::Cow;

use super::event::Status;
use crate::{denial::Told, explain::Stage as At, metrics::Stage};

const MISFIT: &str = r#"{"arguments":"do not fit the schema"}"#;

/// What ended a call, as far as something of ours did; and what became of a task.
#[derive(Clone, Copy, Default)]
pub(super) struct Said<'a> {
    pub(super) told: Option<&'a Told>,
    /// It asked for what is not there for it: whether that is hidden.
    pub(super) unknown: Option<bool>,
    /// Its status.
    pub(super) task: Option<&'static str>,
}

impl<'a> Said<'a> {
    /// JSON; empty: nothing is to be said. `is_misfit`: arguments that were only warned of.
    pub(super) fn detail(&self, is_misfit: bool) -> Cow<'a, str> {
        match (self.told, self.task, is_misfit) {
            (Some(told), _, _) => told.data.as_str().into(),
            (None, Some(task), false) => format!(r#"{{"task":"{task}"}}"#).into(),
            (None, Some(task), true) => MISFIT.replacen('{', &format!(r#"{{"task":"{task}","#), 1).into(),
            (None, None, true) => MISFIT.into(),
            (None, None, false) => "".into(),
        }
    }
}

/// Where it ended, if its backend's answer did not end it. `passed`: the last stage that it passed.
pub(super) fn stage(passed: Option<Stage>, status: Status, kind: &str) -> &'static str {
    if matches!(status, Status::Ok | Status::ToolError | Status::InputRequired) {
        return "";
    }
    let at = match (passed, kind) {
        (None, "disabled") => At::CallerKills,
        (None, _) => At::ClientLimits,
        (Some(Stage::ClientLimits), _) => At::Visible,
        (Some(Stage::Resolve), "disabled") => At::TargetKills,
        (Some(Stage::Resolve), _) => At::TargetLimits,
        (Some(Stage::TargetLimits), _) => At::Arguments,
        (Some(Stage::Arguments), _) => At::Rules,
        (Some(Stage::Rules), "audit_unavailable") => At::Record,
        (Some(Stage::Rules | Stage::Dispatch | Stage::Record), _) => At::Dispatch,
    };
    at.as_str()
}

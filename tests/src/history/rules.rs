//! The rules, one function for each source of truth.

use std::collections::{HashMap, HashSet};

use super::{Answer, History, Made, Row, Rule, Violation};

/// Said before the caller is known, or before anything can be recorded.
const BEFORE_THE_TRAIL: [&str; 4] = ["not_ready", "session_not_found", "unauthenticated", "audit_unavailable"];

fn violation(rule: Rule, what: String) -> Violation {
    Violation { rule, what }
}

/// Each answer against the one row that bears its id.
pub(super) fn answers(history: &History, found: &mut Vec<Violation>) {
    let mut by_id: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &history.rows {
        by_id.entry(&row.request_id).or_default().push(row);
    }
    let mut shared: HashMap<(&str, &str), u64> = HashMap::new();
    for made in &history.made {
        if let Answer::Result { said, .. } = &made.answer
            && made.echoes
            && *said != made.nonce
        {
            found.push(violation(Rule::WrongCaller, format!("{made:?}")));
        }
        let Some(id) = made.answer.request_id() else { continue };
        match (by_id.get(id).map(Vec::as_slice), &made.answer) {
            (Some([row]), answer) => {
                if let Some(why) = differs(made, answer, row) {
                    found.push(violation(Rule::AnswerWithoutRow, format!("{why}: {made:?} has {row:?}")));
                }
            }
            (Some(rows), _) => {
                found.push(violation(Rule::AnswerWithoutRow, format!("{made:?} has {} rows", rows.len())));
            }
            (None, Answer::Refused { kind, .. }) if BEFORE_THE_TRAIL.contains(&kind.as_str()) => {}
            // Many refusals of one client and kind share a row.
            (None, Answer::Refused { kind, .. }) => *shared.entry((&made.client, kind)).or_default() += 1,
            (None, _) => found.push(violation(Rule::AnswerWithoutRow, format!("{made:?} has none"))),
        }
    }
    let answered: HashSet<&str> = history.made.iter().filter_map(|made| made.answer.request_id()).collect();
    for ((client, kind), missing) in shared {
        let of = |row: &&Row| row.client == client && row.kind == kind && !answered.contains(&*row.request_id);
        let counted: u64 = history.rows.iter().filter(of).map(|row| row.count).sum();
        if counted < missing && history.deaths == 0 {
            let what =
                format!("{missing} refusals ({kind}) of {client} have no row of their own, and others count {counted}");
            found.push(violation(Rule::AnswerWithoutRow, what));
        }
    }
}

fn differs(made: &Made, answer: &Answer, row: &Row) -> Option<&'static str> {
    let says = match answer {
        Answer::Result { .. } => row.kind.is_empty() && matches!(row.status.as_str(), "ok" | "tool_error"),
        Answer::Passed { .. } => row.kind.is_empty() && row.status == "tool_error",
        Answer::Refused { kind, .. } => row.kind == *kind && !matches!(row.status.as_str(), "ok" | "tool_error"),
        Answer::None { .. } => true,
    };
    if !says {
        return Some("another outcome");
    }
    if row.client != made.client {
        return Some("another client");
    }
    if row.tool != made.tool {
        return Some("another tool");
    }
    (row.count == 1 && row.nonce != made.nonce).then_some("another call's arguments")
}

/// Each row against the calls that were made.
pub(super) fn rows(history: &History, found: &mut Vec<Violation>) {
    let made: HashMap<&str, &Made> = history.made.iter().map(|made| (&*made.nonce, made)).collect();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    // What refusals share bears nobody's arguments, also where it counts but one.
    for row in history.rows.iter().filter(|row| row.count == 1 && !(row.nonce.is_empty() && row.status == "denied")) {
        match made.get(&*row.nonce) {
            None => found.push(violation(Rule::RowWithoutCall, format!("{row:?}"))),
            Some(call) => {
                let times = seen.entry(&row.nonce).or_default();
                *times += 1;
                if *times > 1 {
                    found.push(violation(Rule::RowWithoutCall, format!("row {times} of one call: {row:?}")));
                }
                // Nobody waits any more: but what is recorded is of this client.
                if call.client != row.client {
                    found.push(violation(Rule::RowWithoutCall, format!("{row:?} is of another client than {call:?}")));
                }
            }
        }
    }
}

/// The backends' own logs against the calls.
pub(super) fn executions(history: &History, found: &mut Vec<Violation>) {
    let mut times: HashMap<(&str, &str), u32> = HashMap::new();
    for executed in &history.executed {
        *times.entry((&executed.backend, &executed.nonce)).or_default() += 1;
    }
    for made in &history.made {
        let times = times.remove(&(&*made.backend, &*made.nonce)).unwrap_or(0);
        let most = if made.may_repeat { 2 } else { 1 };
        if times > most {
            found.push(violation(Rule::SentTwice, format!("{times} times: {made:?}")));
        }
        if times == 0 && matches!(made.answer, Answer::Result { .. } | Answer::Passed { .. }) {
            found.push(violation(Rule::ResultOfNothing, format!("{made:?}")));
        }
    }
    for ((backend, nonce), times) in times {
        found.push(violation(
            Rule::ResultOfNothing,
            format!("{backend} got a call that nobody made there: {nonce}, {times} times"),
        ));
    }
}

/// The metrics against the rows.
pub(super) fn counts(history: &History, found: &mut Vec<Violation>) {
    let in_rows: u64 = history.rows.iter().map(|row| row.count).sum();
    if let Some(counted) = history.counted.filter(|counted| *counted != in_rows) {
        found.push(violation(Rule::Miscounted, format!("the plane counts {counted} calls, its rows {in_rows}")));
    }
}

/// What is left when all is over.
pub(super) fn rest(history: &History, found: &mut Vec<Violation>) {
    for level in history.levels.iter().filter(|level| level.after > level.before.saturating_add(level.most)) {
        found.push(violation(Rule::NotGivenBack, format!("{level:?}")));
    }
    found.extend(history.strays.iter().map(|stray| violation(Rule::Orphan, stray.clone())));
    found.extend(history.dead.iter().map(|dead| violation(Rule::NotBack, dead.clone())));
}

//! The audit event: one line of JSON, its members in the contract's order, absent when empty, ≤ 64 KiB. It is
//! written by hand into a buffer that is used again; who it is about and what may be in it was decided before.

use std::io::Write as _;

use uuid::{NoContext, Timestamp, Uuid};

use super::spool::{Hash, MAX_EVENT};
use crate::{clock::Clock, in_flight::LegKey};

/// Characters of one string, when the whole is too long.
const CUT: usize = 512;

/// How a recorded thing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    ToolError,
    /// We refused.
    Denied,
    /// The backend or its way failed.
    Error,
    Timeout,
    Cancelled,
    InputRequired,
    Abandoned,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Denied => "denied",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::InputRequired => "input_required",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is recorded. Empty strings and `None` leave no trace. `arguments` and `detail` must be valid JSON
/// without a line break (`arguments` as `super::arguments` writes them).
#[derive(Clone, Copy)]
pub struct Event<'a> {
    pub id: Uuid,
    /// Unix microseconds.
    pub ts: u64,
    pub method: &'a str,
    pub client: &'a str,
    pub issuer: &'a str,
    pub roles: &'a [&'a str],
    /// 16 hex digits.
    pub session: &'a str,
    pub tool: &'a str,
    pub backend: &'a str,
    /// The virtual server at whose endpoint it came in.
    pub server: &'a str,
    pub arguments: &'a [u8],
    pub arguments_note: &'a str,
    pub status: Status,
    pub kind: &'a str,
    pub count: u64,
    pub latency_us: Option<u64>,
    pub backend_latency_us: Option<u64>,
    pub revision: u64,
    pub stamp_generation: Option<u64>,
    pub attempts: Option<u32>,
    pub sent: Option<bool>,
    /// Where a call ended that its backend did not answer: `explain::Stage`.
    pub stage: &'a str,
    /// The line of the configuration that hid what was asked for; or that nothing of this name is there.
    pub rule: &'a str,
    /// What the client was told, where it was an error of ours; its `data` is the detail.
    pub code: Option<i32>,
    pub message: &'a str,
    pub parent: Option<Uuid>,
    pub traceparent: &'a str,
    pub detail: &'a [u8],
}

/// Arguments may be anybody's secrets: only their length is told.
impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Event")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("tool", &self.tool)
            .field("status", &self.status)
            .field("kind", &self.kind)
            .field("arguments", &self.arguments.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Event<'a> {
    /// An event with everything else empty; `count` is 1.
    #[must_use]
    pub fn new(id: Uuid, ts: u64, method: &'a str, status: Status) -> Self {
        Self {
            id,
            ts,
            method,
            client: "",
            issuer: "",
            roles: &[],
            session: "",
            tool: "",
            backend: "",
            server: "",
            arguments: b"",
            arguments_note: "",
            status,
            kind: "",
            count: 1,
            latency_us: None,
            backend_latency_us: None,
            revision: 0,
            stamp_generation: None,
            attempts: None,
            sent: None,
            stage: "",
            rule: "",
            code: None,
            message: "",
            parent: None,
            traceparent: "",
            detail: b"",
        }
    }

    /// Writes the event into `out`, which is emptied first. Never longer than 64 KiB: if it would be, first its
    /// arguments and detail go, then its strings are cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_cut(out, usize::MAX);
        if out.len() <= MAX_EVENT {
            return;
        }
        let shorter = Self { arguments: b"", detail: b"", arguments_note: "dropped: too long", ..*self };
        shorter.write_cut(out, usize::MAX);
        if out.len() > MAX_EVENT {
            let roles = self.roles.get(..16).unwrap_or(self.roles);
            Self { roles, ..shorter }.write_cut(out, CUT);
        }
    }

    fn write_cut(&self, out: &mut Vec<u8>, cut: usize) {
        out.clear();
        out.extend_from_slice(b"{\"v\":1,\"id\":\"");
        push_uuid(out, self.id);
        out.extend_from_slice(b"\",\"ts\":");
        push_number(out, self.ts);
        text(out, "method", self.method, cut);
        text(out, "client", self.client, cut);
        text(out, "issuer", self.issuer, cut);
        if let Some((first, others)) = self.roles.split_first() {
            out.extend_from_slice(b",\"roles\":[");
            push_text(out, first, cut);
            for role in others {
                out.push(b',');
                push_text(out, role, cut);
            }
            out.push(b']');
        }
        text(out, "session", self.session, cut);
        text(out, "tool", self.tool, cut);
        text(out, "backend", self.backend, cut);
        text(out, "server", self.server, cut);
        raw(out, "arguments", self.arguments);
        text(out, "arguments_note", self.arguments_note, cut);
        text(out, "status", self.status.as_str(), cut);
        text(out, "kind", self.kind, cut);
        number(out, "count", Some(self.count));
        number(out, "latency_us", self.latency_us);
        number(out, "backend_latency_us", self.backend_latency_us);
        number(out, "revision", Some(self.revision));
        number(out, "stamp_generation", self.stamp_generation);
        number(out, "attempts", self.attempts.map(u64::from));
        if let Some(sent) = self.sent {
            raw(out, "sent", if sent { b"true" } else { b"false" });
        }
        text(out, "stage", self.stage, cut);
        text(out, "rule", self.rule, cut);
        if let Some(code) = self.code {
            key(out, "code");
            // writing to memory cannot fail
            drop(write!(out, "{code}"));
        }
        text(out, "message", self.message, cut);
        if let Some(parent) = self.parent {
            out.extend_from_slice(b",\"parent\":\"");
            push_uuid(out, parent);
            out.push(b'"');
        }
        text(out, "traceparent", self.traceparent, cut);
        raw(out, "detail", self.detail);
        out.push(b'}');
    }
}

/// An id for a record made at the clock's time: UUID v7.
#[must_use]
pub fn new_id(clock: &Clock) -> Uuid {
    let micros = clock.now_micros();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0).saturating_mul(1000);
    Uuid::new_v7(Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
}

/// The first record of an epoch: which one was before, and the last hash of that.
#[must_use]
pub fn start(clock: &Clock, before: Option<(u64, Hash)>) -> Vec<u8> {
    let (epoch, hash) = before.unwrap_or_default();
    let detail = format!("{{\"previous_epoch\":{epoch},\"previous_hash\":\"{}\"}}", hex(&hash));
    let mut out = Vec::new();
    let event = Event::new(new_id(clock), clock.now_micros(), "plane/start", Status::Ok);
    Event { detail: detail.as_bytes(), ..event }.write(&mut out);
    out
}

/// Records that are missing, and why; `count` 0 when it is not known how many.
#[must_use]
pub fn gap(clock: &Clock, count: u64, reason: &str) -> Vec<u8> {
    let mut detail = b"{\"reason\":".to_vec();
    push_text(&mut detail, reason, CUT);
    detail.push(b'}');
    let mut out = Vec::new();
    let event = Event::new(new_id(clock), clock.now_micros(), "plane/gap", Status::Error);
    Event { kind: "audit_gap", count, detail: &detail, ..event }.write(&mut out);
    out
}

/// Lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn text(out: &mut Vec<u8>, name: &str, value: &str, cut: usize) {
    if !value.is_empty() {
        key(out, name);
        push_text(out, value, cut);
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        key(out, name);
        push_number(out, value);
    }
}

fn raw(out: &mut Vec<u8>, name: &str, json: &[u8]) {
    if !json.is_empty() {
        key(out, name);
        out.extend_from_slice(json);
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_uuid(out: &mut Vec<u8>, id: Uuid) {
    let mut text = [0; 36];
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
}

fn push_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A JSON string of the first `cut` characters of `value`.
pub(super) fn push_text(out: &mut Vec<u8>, value: &str, cut: usize) {
    let value = match value.char_indices().nth(cut) {
        Some((at, _)) if value.len() > cut => value.get(..at).unwrap_or_default(),
        _ => value,
    };
    // writing to memory cannot fail, nor can a string fail to be JSON
    drop(serde_json::to_writer(&mut *out, value));
}

/// First 8 of the session's 16 bytes, as 16 hex digits: enough to join rows, too little to be one. Empty: there is none.
pub fn session_text(key: LegKey) -> String {
    if key.is_alone() {
        return String::new();
    }
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    key.0.iter().take(8).flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_come_in_the_contracts_order_and_empty_ones_not_at_all() {
        let mut out = Vec::new();
        let event = Event {
            client: "alice",
            roles: &["a", "b"],
            tool: "fs__read",
            backend: "fs",
            server: "research",
            arguments: br#"{"p":1}"#,
            latency_us: Some(12),
            revision: 3,
            sent: Some(true),
            stage: "rules",
            rule: "roles.a.deny[0]",
            code: Some(-31403),
            message: "no",
            parent: Some(Uuid::from_u128(2)),
            detail: b"{}",
            ..Event::new(Uuid::from_u128(1), 5, "tools/call", Status::ToolError)
        };
        event.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"v":1,"id":"00000000-0000-0000-0000-000000000001","ts":5,"method":"tools/call","#,
                r#""client":"alice","roles":["a","b"],"tool":"fs__read","backend":"fs","server":"research","arguments":{"p":1},"#,
                r#""status":"tool_error","count":1,"latency_us":12,"revision":3,"sent":true,"#,
                r#""stage":"rules","rule":"roles.a.deny[0]","code":-31403,"message":"no","#,
                r#""parent":"00000000-0000-0000-0000-000000000002","detail":{}}"#
            )
        );
    }

    #[test]
    fn what_is_too_long_loses_its_arguments_and_then_its_strings() {
        let arguments = format!("\"{}\"", "x".repeat(MAX_EVENT));
        let long = "\u{1}".repeat(MAX_EVENT);
        let mut out = Vec::new();
        let event = Event {
            tool: &long,
            client: &long,
            arguments: arguments.as_bytes(),
            ..Event::new(Uuid::nil(), 5, "tools/call", Status::Ok)
        };
        event.write(&mut out);
        assert!(out.len() <= MAX_EVENT);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["arguments_note"], "dropped: too long");
        assert_eq!(read["tool"].as_str().unwrap().chars().count(), CUT);
    }

    proptest! {
        #[test]
        fn any_strings_make_one_line_of_json(tool in ".*", client in "\\PC*", kind in any::<String>()) {
            let mut out = Vec::new();
            let event = Event::new(Uuid::nil(), 5, "tools/call", Status::Ok);
            Event { tool: &tool, client: &client, kind: &kind, ..event }.write(&mut out);
            prop_assert!(!out.contains(&b'\n'));
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read.get("kind").and_then(|kind| kind.as_str()).unwrap_or(""), kind);
            prop_assert_eq!(read.get("tool").and_then(|tool| tool.as_str()).unwrap_or(""), tool);
        }
    }
}

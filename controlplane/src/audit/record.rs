//! One record as a plane made it, taken apart into columns. Storing is not done here; the bytes stay as they are.

use sentinel_proto::v1::AuditRecord;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::store::audit::AuditInsert;

/// What this program knows to read.
const FORMAT: u64 = 1;
/// Both databases can hold it, and no plane's clock is honestly beyond.
const END_OF_9999_US: i64 = 253_402_300_799_999_999;

/// Why a record cannot be a row. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the event is not the JSON of a record: {0:?} at byte {1}")]
    Json(serde_json::error::Category, usize),
    #[error("the record has format {0}, this program reads {FORMAT}")]
    Format(u64),
    #[error("`{0}` is not a UUID")]
    NotUuid(&'static str),
    #[error("`{0}` holds a NUL character")]
    Nul(&'static str),
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

#[derive(Deserialize)]
struct Event<'a> {
    v: u64,
    id: String,
    ts: i64,
    method: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    session: String,
    #[serde(default)]
    tool: String,
    #[serde(default)]
    backend: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(default)]
    arguments_note: String,
    status: String,
    #[serde(default)]
    kind: String,
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    latency_us: u64,
    #[serde(default)]
    backend_latency_us: u64,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    parent: Option<String>,
}

fn one() -> u64 {
    1
}

/// Reads `record` of (`plane_id`, `epoch`, `seq`).
pub(crate) fn read<'a>(
    plane_id: &'a str,
    epoch: i64,
    seq: i64,
    record: &'a AuditRecord,
) -> Result<AuditInsert<'a>, Unreadable> {
    let event: Event<'a> = serde_json::from_slice(&record.event)
        // the library's sentence may quote the value, and that may be a secret
        .map_err(|error| Unreadable::Json(error.classify(), error.column()))?;
    if event.v != FORMAT {
        return Err(Unreadable::Format(event.v));
    }
    if !(0..=END_OF_9999_US).contains(&event.ts) {
        return Err(Unreadable::OutOfRange("ts"));
    }
    for (name, text) in [
        ("method", &event.method),
        ("client", &event.client),
        ("session", &event.session),
        ("tool", &event.tool),
        ("backend", &event.backend),
        ("arguments_note", &event.arguments_note),
        ("status", &event.status),
        ("kind", &event.kind),
    ] {
        if text.contains('\0') {
            return Err(Unreadable::Nul(name));
        }
    }
    Ok(AuditInsert {
        plane_id,
        epoch,
        seq,
        prev_hash: &record.prev_hash,
        request_id: uuid("id", &event.id)?,
        ts_unix_us: event.ts,
        client: event.client,
        roles: serde_json::Value::from(event.roles).to_string(),
        session: event.session,
        tool: event.tool,
        backend: event.backend,
        method: event.method,
        arguments: event.arguments.map(RawValue::get),
        arguments_note: event.arguments_note,
        status: event.status,
        kind: event.kind,
        parent: event.parent.as_deref().map(|parent| uuid("parent", parent)).transpose()?,
        count: signed("count", event.count)?,
        latency_us: signed("latency_us", event.latency_us)?,
        backend_latency_us: signed("backend_latency_us", event.backend_latency_us)?,
        revision: signed("revision", event.revision)?,
        event: &record.event,
    })
}

fn uuid(name: &'static str, text: &str) -> Result<String, Unreadable> {
    Uuid::parse_str(text).map(|uuid| uuid.to_string()).map_err(|_| Unreadable::NotUuid(name))
}

fn signed(name: &'static str, value: u64) -> Result<i64, Unreadable> {
    i64::try_from(value).map_err(|_| Unreadable::OutOfRange(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(event: &str) -> String {
        let record = AuditRecord { seq: 1, prev_hash: vec![0; 32], event: event.as_bytes().to_vec() };
        match read("plane", 1, 1, &record) {
            Ok(row) => format!("a row with arguments {:?}", row.arguments),
            Err(unreadable) => unreadable.to_string(),
        }
    }

    #[test]
    fn what_cannot_be_a_row_is_told_without_quoting_it() {
        let id = "01940000-0000-7000-8000-000000000001";
        for (event, expected) in [
            ("{\"v\":1,\"secret".to_owned(), "the event is not the JSON of a record: Eof at byte 14".to_owned()),
            (
                format!(r#"{{"v":2,"id":"{id}","ts":1,"method":"m","status":"ok"}}"#),
                "the record has format 2, this program reads 1".to_owned(),
            ),
            (r#"{"v":1,"id":"secret","ts":1,"method":"m","status":"ok"}"#.to_owned(), "`id` is not a UUID".to_owned()),
            (format!(r#"{{"v":1,"id":"{id}","ts":-1,"method":"m","status":"ok"}}"#), "`ts` is out of range".to_owned()),
            (
                format!(r#"{{"v":1,"id":"{id}","ts":1,"method":"m","client":"a\u0000b","status":"ok"}}"#),
                "`client` holds a NUL character".to_owned(),
            ),
            (
                format!(r#"{{"v":1,"id":"{id}","ts":1,"method":"m","status":"ok","count":18446744073709551615}}"#),
                "`count` is out of range".to_owned(),
            ),
        ] {
            assert_eq!(reason(&event), expected);
        }
    }

    #[test]
    fn arguments_that_no_library_can_hold_are_read_as_they_are() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        for arguments in [r#""\ud800""#, "1e400000", r#""\u0000""#, &deep] {
            let event = format!(
                r#"{{"v":1,"id":"01940000-0000-7000-8000-000000000001","ts":1,"method":"m","arguments":{arguments},"status":"ok"}}"#
            );
            assert_eq!(reason(&event), format!("a row with arguments {:?}", Some(arguments)));
        }
    }
}

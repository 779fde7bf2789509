//! `audit list` as SQL: the filters that were given, nothing for the others, so that an index can be used; and rows
//! as the contract has them.

use sentinel_proto::v1::{AuditListRequest, AuditRow};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::AssertSqlSafe;

use super::audit::AuditInsert;
use super::engine::{Arg, Row, Statement, Words};
use super::error::StoreError;

/// Values go in as parameters; the text is ours alone.
pub(crate) fn statement(words: Words, filter: &AuditListRequest, limit: u32) -> Statement {
    let Words { us_as_ts: (before, after), as_uuid, .. } = words;
    let columns = columns(words);
    let mut args: Vec<Arg> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    for (column, value) in
        [("client", &filter.client), ("tool", &filter.tool), ("backend", &filter.backend), ("status", &filter.status)]
    {
        if !value.is_empty() {
            args.push(Arg::from(value.as_str()));
            conditions.push(format!("{column} = ${}", args.len()));
        }
    }
    if !filter.request_id.is_empty() {
        args.push(Arg::from(filter.request_id.as_str()));
        conditions.push(format!("request_id = ${}{as_uuid}", args.len()));
    }
    for (operator, unix_ms) in [(">=", filter.since_unix_ms), ("<", filter.until_unix_ms)] {
        if unix_ms != 0 {
            args.push(Arg::from(unix_ms.saturating_mul(1000)));
            conditions.push(format!("ts {operator} {before}${}{after}", args.len()));
        }
    }
    let condition = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    args.push(Arg::from(i64::from(limit)));
    let limit = args.len();
    Statement::new(
        AssertSqlSafe(format!(
            "SELECT {columns} FROM audit_logs {condition} ORDER BY ts DESC, seq DESC, plane_id LIMIT ${limit}"
        )),
        args,
    )
}

/// What [`row`] reads.
pub(crate) fn columns(words: Words) -> String {
    let Words { ts_as_us, uuid_as_text, .. } = words;
    format!(
        "request_id{uuid_as_text} AS request_id, {ts_as_us} AS ts_unix_us, client, roles, session, tool, backend, \
         method, status, kind, parent{uuid_as_text} AS parent, count, latency_us, backend_latency_us, \
         plane_id{uuid_as_text} AS plane_id, epoch, seq, revision, event"
    )
}

/// A record on its way into the store, as a listing will show it.
pub(crate) fn of_insert(row: &AuditInsert<'_>) -> AuditRow {
    let event: Event<'_> = serde_json::from_slice(row.event).unwrap_or_default();
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    AuditRow {
        request_id: row.request_id.clone(),
        ts_unix_us: row.ts_unix_us,
        client: row.client.clone(),
        roles: serde_json::from_str(&row.roles).unwrap_or_default(),
        session: row.session.clone(),
        tool: row.tool.clone(),
        backend: row.backend.clone(),
        method: row.method.clone(),
        arguments: event.arguments.map(|raw| raw.get().to_owned()).unwrap_or_default(),
        status: row.status.clone(),
        kind: row.kind.clone(),
        count: count(row.count),
        latency_us: count(row.latency_us),
        backend_latency_us: count(row.backend_latency_us),
        plane_id: row.plane_id.to_owned(),
        epoch: count(row.epoch),
        seq: count(row.seq),
        revision: count(row.revision),
        parent: row.parent.clone().unwrap_or_default(),
        detail: event.detail(),
    }
}

/// What a listing takes from the record itself, so that both stores show the bytes that the plane sent.
#[derive(Default, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments_note: Option<&'a RawValue>,
    #[serde(borrow, default)]
    issuer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    server: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stamp_generation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    attempts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rule: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
}

impl Event<'_> {
    /// Everything that has no column, as one JSON object; empty where there is nothing.
    fn detail(&self) -> String {
        let members: Vec<String> = [
            ("issuer", self.issuer),
            ("server", self.server),
            ("arguments_note", self.arguments_note),
            ("stamp_generation", self.stamp_generation),
            ("attempts", self.attempts),
            ("sent", self.sent),
            ("stage", self.stage),
            ("rule", self.rule),
            ("code", self.code),
            ("message", self.message),
            ("traceparent", self.traceparent),
            ("detail", self.detail),
        ]
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("\"{name}\":{}", value.get())))
        .collect();
        if members.is_empty() { String::new() } else { format!("{{{}}}", members.join(",")) }
    }
}

/// One row of [`statement`].
pub(crate) fn row(row: &Row) -> Result<AuditRow, StoreError> {
    let event: Vec<u8> = row.value("event")?;
    // what is a row was read at ingest; a row that somebody wrote by hand shows its columns alone
    let event: Event<'_> = serde_json::from_slice(&event).unwrap_or_default();
    Ok(AuditRow {
        request_id: row.value("request_id")?,
        ts_unix_us: row.value("ts_unix_us")?,
        client: row.value("client")?,
        roles: serde_json::from_str(&row.value::<String>("roles")?).unwrap_or_default(),
        session: row.value("session")?,
        tool: row.value("tool")?,
        backend: row.value("backend")?,
        method: row.value("method")?,
        arguments: event.arguments.map(|raw| raw.get().to_owned()).unwrap_or_default(),
        status: row.value("status")?,
        kind: row.value("kind")?,
        count: row.count("count")?,
        latency_us: row.count("latency_us")?,
        backend_latency_us: row.count("backend_latency_us")?,
        plane_id: row.value("plane_id")?,
        epoch: row.count("epoch")?,
        seq: row.count("seq")?,
        revision: row.count("revision")?,
        parent: row.value::<Option<String>>("parent")?.unwrap_or_default(),
        detail: event.detail(),
    })
}

//! Batches into Postgres: one statement each, its columns as arrays. No `begin()` here.

use super::PostgresEngine;
use crate::store::audit::{AuditInsert, Quarantined};
use crate::store::error::StoreError;

const INSERT: &str = "INSERT INTO audit_logs (plane_id, epoch, seq, prev_hash, request_id, ts, client, roles, session, \
    tool, backend, method, arguments, arguments_note, status, kind, parent, count, latency_us, backend_latency_us, \
    revision, event) \
    SELECT r.plane_id::uuid, r.epoch, r.seq, r.prev_hash, r.request_id::uuid, \
    timestamptz 'epoch' + r.ts * interval '1 microsecond', r.client, r.roles, r.session, r.tool, r.backend, r.method, \
    r.arguments::jsonb, r.arguments_note, r.status, r.kind, r.parent::uuid, r.count, r.latency_us, \
    r.backend_latency_us, r.revision, r.event \
    FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::bigint[], $7::text[], $8::text[], \
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], \
    $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bytea[]) \
    AS r (plane_id, epoch, seq, prev_hash, request_id, ts, client, roles, session, tool, backend, method, arguments, \
    arguments_note, status, kind, parent, count, latency_us, backend_latency_us, revision, event) \
    ON CONFLICT (plane_id, epoch, seq, ts) DO NOTHING";

const QUARANTINE: &str = "INSERT INTO audit_quarantine (plane_id, epoch, seq, prev_hash, event, reason, at_unix_ms) \
    SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::bigint[]) \
    ON CONFLICT (plane_id, epoch, seq) DO NOTHING";

impl PostgresEngine {
    pub(super) async fn insert_rows(&self, rows: &[AuditInsert<'_>]) -> Result<u64, StoreError> {
        let text = |of: for<'a> fn(&'a AuditInsert<'a>) -> &'a str| {
            rows.iter().map(|row| of(row).to_owned()).collect::<Vec<_>>()
        };
        let number = |of: fn(&AuditInsert<'_>) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        let bytes = |of: fn(&AuditInsert<'_>) -> Vec<u8>| rows.iter().map(of).collect::<Vec<_>>();
        let done = sqlx::query(INSERT)
            .bind(text(|row| row.plane_id))
            .bind(number(|row| row.epoch))
            .bind(number(|row| row.seq))
            .bind(bytes(|row| row.prev_hash.to_vec()))
            .bind(text(|row| &row.request_id))
            .bind(number(|row| row.ts_unix_us))
            .bind(text(|row| &row.client))
            .bind(text(|row| &row.roles))
            .bind(text(|row| &row.session))
            .bind(text(|row| &row.tool))
            .bind(text(|row| &row.backend))
            .bind(text(|row| &row.method))
            .bind(rows.iter().map(|row| row.arguments.map(str::to_owned)).collect::<Vec<_>>())
            .bind(text(|row| &row.arguments_note))
            .bind(text(|row| &row.status))
            .bind(text(|row| &row.kind))
            .bind(rows.iter().map(|row| row.parent.clone()).collect::<Vec<_>>())
            .bind(number(|row| row.count))
            .bind(number(|row| row.latency_us))
            .bind(number(|row| row.backend_latency_us))
            .bind(number(|row| row.revision))
            .bind(bytes(|row| row.event.to_vec()))
            .execute(&self.pool)
            .await;
        Ok(done.map_err(|source| self.failed("insert audit rows", source))?.rows_affected())
    }

    pub(super) async fn insert_guilty(&self, rows: &[Quarantined<'_>]) -> Result<u64, StoreError> {
        let done = sqlx::query(QUARANTINE)
            .bind(rows.iter().map(|row| row.plane_id.to_owned()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.epoch).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.prev_hash.to_vec()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.event.to_vec()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.reason.clone()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.at_unix_ms).collect::<Vec<_>>())
            .execute(&self.pool)
            .await;
        Ok(done.map_err(|source| self.failed("keep records in quarantine", source))?.rows_affected())
    }
}

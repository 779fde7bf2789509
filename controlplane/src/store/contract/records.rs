//! Records for the promises of audit, as a plane makes them.

use sentinel_proto::v1::{AuditBatch, AuditRecord};

use crate::store::fixtures::NOW_US;

pub(super) const PLANE: &str = "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0001";

pub(super) fn id(seq: u64) -> String {
    format!("01940000-0000-7000-8000-{seq:012x}")
}

/// A record's JSON; `extra` are further members, with a leading comma.
pub(super) fn event(seq: u64, extra: &str) -> String {
    let at = NOW_US + i64::try_from(seq).unwrap();
    format!(
        r#"{{"v":1,"id":"{}","ts":{at},"method":"tools/call","roles":["analyst"]{extra},"status":"ok","count":1,"latency_us":12,"revision":4}}"#,
        id(seq)
    )
}

pub(super) fn record(seq: u64, event: &str) -> AuditRecord {
    AuditRecord { seq, prev_hash: vec![7; 32], event: event.as_bytes().to_vec() }
}

pub(super) fn batch(epoch: u64, seqs: std::ops::RangeInclusive<u64>) -> AuditBatch {
    AuditBatch { epoch, records: seqs.map(|seq| record(seq, &event(seq, ""))).collect() }
}

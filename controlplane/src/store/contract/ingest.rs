//! Promises of ingest: every record of a batch is a row or in quarantine, once, before it is acknowledged.

use sentinel_proto::v1::{AuditBatch, AuditRecord, KillEntry};

use super::promises;
use super::records::{PLANE, batch, event, record};
use crate::audit::ingest::{IngestError, Ingested, ingest};
use crate::store::Store;
use crate::store::engine::{Arg, Statement};
use crate::store::error::Fault;
use crate::store::fixtures::{Ground, NOW_MS};

const OTHER: &str = "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0002";

promises!(
    a_repeated_or_overlapping_batch_changes_nothing,
    records_of_two_planes_and_two_starts_live_beside_each_other,
    poison_among_good_records_stops_nobody,
    a_batch_that_breaks_the_contract_is_refused_whole,
    a_batch_of_five_hundred_goes_in_at_once,
    writers_beside_each_other_lose_nothing,
    a_closed_store_is_a_passing_fault_and_acknowledges_nothing,
    an_ingest_that_is_dropped_anywhere_leaves_the_store_whole,
);

async fn a_repeated_or_overlapping_batch_changes_nothing(ground: Ground) {
    let store = ground.open().await.unwrap();
    let first = ingest(&store, PLANE, &batch(1, 1..=5), NOW_MS).await.unwrap();
    assert_eq!(first, Ingested { epoch: 1, up_to: 5, inserted: 5, quarantined: 0 });
    for (range, inserted) in [(1..=5, 0), (3..=7, 2), (1..=7, 0)] {
        let again = ingest(&store, PLANE, &batch(1, range.clone()), NOW_MS).await.unwrap();
        assert_eq!((again.up_to, again.inserted), (*range.end(), inserted));
    }
    assert_eq!(store.audit_counts().await.unwrap().rows, 7);
}

async fn records_of_two_planes_and_two_starts_live_beside_each_other(ground: Ground) {
    let store = ground.open().await.unwrap();
    for (plane, epoch) in [(PLANE, 1), (PLANE, i64::MAX.cast_unsigned()), (OTHER, 1)] {
        assert_eq!(ingest(&store, plane, &batch(epoch, 1..=2), NOW_MS).await.unwrap().inserted, 2);
    }
    assert_eq!(store.audit_counts().await.unwrap().rows, 6);
}

async fn poison_among_good_records_stops_nobody(ground: Ground) {
    let store = ground.open().await.unwrap();
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let mut records: Vec<AuditRecord> = (1..=20).map(|seq| record(seq, &event(seq, ""))).collect();
    for (place, arguments) in [(2, r#""\ud800""#), (5, "1e400000"), (11, r#"{"a":"\u0000"}"#), (17, deep.as_str())] {
        records[place] = record(place as u64 + 1, &event(place as u64 + 1, &format!(r#","arguments":{arguments}"#)));
    }
    records[3] = record(4, &event(4, r#","client":"a\u0000b""#));
    records[8].event = b"{\"v\":1,\"id\":".to_vec();
    records[9].event = b"\xff\xfe".to_vec();
    records[19] = record(20, &event(20, "").replace("\"ts\":", "\"ts\":99999999"));
    let batch = AuditBatch { epoch: 3, records: records.clone() };
    for _ in 0..2 {
        let done = ingest(&store, PLANE, &batch, NOW_MS).await.unwrap();
        assert_eq!((done.up_to, done.quarantined), (20, 4));
        let counts = store.audit_counts().await.unwrap();
        assert_eq!((counts.rows, counts.quarantined), (16, 4), "each record once");
    }
    let mut kept = store.quarantine(10).await.unwrap();
    kept.sort_by_key(|(_, _, seq, _)| *seq);
    assert_eq!(
        kept.iter().map(|(_, epoch, seq, _)| (*epoch, *seq)).collect::<Vec<_>>(),
        [(3, 4), (3, 9), (3, 10), (3, 20)]
    );
    assert!(kept[0].3.contains("NUL"), "{}", kept[0].3);
    assert!(kept.iter().all(|(plane, ..)| plane == PLANE));
    let broken: serde_json::Value = serde_json::from_slice(&records[3].event).unwrap();
    let id = broken["id"].as_str().unwrap();
    let lies = store.quarantined(id, NOW_MS).await.unwrap();
    assert_eq!(lies.map(|(plane, epoch, seq, _)| (plane, epoch, seq)), Some((PLANE.to_owned(), 3, 4)));
    assert_eq!(store.quarantined(id, NOW_MS + 1).await.unwrap(), None, "it lay there before");
    assert_eq!(store.quarantined("no such text", 0).await.unwrap(), None);
    let bytes = Statement::new("SELECT event FROM audit_quarantine WHERE seq = 10", []);
    let rows = store.engine.read("read the bytes", bytes).await.unwrap();
    assert_eq!(rows[0].value::<Vec<u8>>("event").unwrap(), b"\xff\xfe", "its bytes as they came");
}

async fn a_batch_that_breaks_the_contract_is_refused_whole(ground: Ground) {
    let store = ground.open().await.unwrap();
    let mut hole = batch(1, 1..=3);
    hole.records[2].seq = 5;
    let mut hash = batch(1, 1..=3);
    hash.records[1].prev_hash.clear();
    for bad in [hole, hash, batch(u64::MAX, 1..=3), batch(1, 0..=3), batch(1, 1..=501), AuditBatch::default()] {
        let refused = ingest(&store, PLANE, &bad, NOW_MS).await.unwrap_err();
        assert!(matches!(refused, IngestError::BadBatch { .. }), "{refused}");
        assert_eq!(refused.fault(), Fault::Final);
    }
    assert!(ingest(&store, "no uuid", &batch(1, 1..=1), NOW_MS).await.is_err());
    assert_eq!(store.audit_counts().await.unwrap().rows, 0);
}

async fn a_batch_of_five_hundred_goes_in_at_once(ground: Ground) {
    let store = ground.open().await.unwrap();
    assert_eq!(ingest(&store, PLANE, &batch(1, 1..=500), NOW_MS).await.unwrap().inserted, 500);
}

async fn writers_beside_each_other_lose_nothing(ground: Ground) {
    let store = ground.open().await.unwrap();
    let planes: Vec<String> = (0..6).map(|n| format!("0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f00{n:02}")).collect();
    let batches = planes.iter().map(|plane| async {
        for start in [1, 11, 21, 11] {
            ingest(&store, plane, &batch(1, start..=start + 9), NOW_MS).await.unwrap();
        }
    });
    futures_util::future::join_all(batches).await;
    assert_eq!(store.audit_counts().await.unwrap().rows, 180);
}

async fn a_closed_store_is_a_passing_fault_and_acknowledges_nothing(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.close().await;
    let failed = ingest(&store, PLANE, &batch(1, 1..=2), NOW_MS).await.unwrap_err();
    assert_eq!(failed.fault(), Fault::Passing, "{failed}");
}

async fn an_ingest_that_is_dropped_anywhere_leaves_the_store_whole(ground: Ground) {
    let store = ground.open().await.unwrap();
    let mut acked = Vec::new();
    for n in 1..=60_u64 {
        let one = batch(n, 1..=3);
        // a yield more each time: dropped before, while and after the statement is sent
        let cut = async {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = ingest(&store, PLANE, &one, NOW_MS) => acked.push(done.unwrap().epoch),
            () = cut => {}
        }
        let kill = store.set_kill(KillEntry { name: n.to_string(), on: true, ..Default::default() });
        tokio::select! { biased; done = kill => { done.unwrap(); } () = tokio::task::yield_now() => {} }
    }
    for n in 100..=120_u64 {
        acked.push(ingest(&store, PLANE, &batch(n, 1..=3), NOW_MS).await.unwrap().epoch);
    }
    let epoch = store.set_kill(KillEntry::default()).await.unwrap().epoch;
    assert!(epoch > 0);
    let seen = ground.open().await.unwrap();
    for epoch in acked {
        assert_eq!(rows_of(&seen, epoch).await, 3, "acknowledged, so there: {epoch}");
    }
}

async fn rows_of(store: &Store, epoch: u64) -> u64 {
    let args = [Arg::count("an epoch", epoch).unwrap()];
    let statement = Statement::new("SELECT COUNT(*) AS kept FROM audit_logs WHERE epoch = $1", args);
    store.engine.read("count", statement).await.unwrap()[0].count("kept").unwrap()
}

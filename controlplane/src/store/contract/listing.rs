//! Promises of `audit list` and of retention.

use sentinel_proto::v1::{
    AuditBatch, AuditExportPiece, AuditExportRequest, AuditListRequest, AuditRecord, AuditStatsRequest, AuditStored,
};

use super::promises;
use super::records::{PLANE, batch, event, id, record};
use crate::audit::export::Export;
use crate::audit::ingest::ingest;
use crate::audit::{query, retention, stats};
use crate::store::Place;
use crate::store::audit::Forgotten;
use crate::store::engine::Statement;
use crate::store::fixtures::{Ground, NOW_MS, NOW_US};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

promises!(
    every_filter_filters,
    a_question_that_cannot_be_meant_is_refused,
    a_large_store_is_estimated_by_words_that_the_database_knows,
    a_listing_is_newest_first_and_says_when_there_is_more,
    what_is_older_than_the_retention_goes_and_nothing_else,
    arguments_are_shown_as_the_plane_sent_them,
    an_answer_of_large_rows_is_cut_and_says_so,
    counts_are_those_of_the_rows_whatever_the_key,
    an_export_gives_each_row_once_also_when_it_is_continued,
);

async fn every_filter_filters(ground: Ground) {
    let store = ground.open().await.unwrap();
    let mut records: Vec<AuditRecord> = (1..=8).map(|seq| record(seq, &event(seq, ""))).collect();
    records[0] = record(1, &event(1, r#","client":"ana""#));
    records[1] = record(2, &event(2, r#","tool":"n8n__list""#));
    records[2] = record(3, &event(3, r#","backend":"n8n""#));
    records[4] = record(5, &event(5, "").replace(r#""status":"ok""#, r#""status":"denied""#));
    records[5] = record(6, &at(6, NOW_US - 5 * DAY_US));
    let all = AuditBatch { epoch: 1, records };
    ingest(&store, PLANE, &all, NOW_MS).await.unwrap();
    type Ask = fn(&mut AuditListRequest);
    let asks: [(Ask, &[u64]); 9] = [
        (|_| (), &[8, 7, 5, 4, 3, 2, 1, 6]),
        (|ask| ask.client = "ana".to_owned(), &[1]),
        (|ask| ask.tool = "n8n__list".to_owned(), &[2]),
        (|ask| ask.backend = "n8n".to_owned(), &[3]),
        (|ask| ask.status = "denied".to_owned(), &[5]),
        (|ask| ask.request_id = id(7).to_uppercase(), &[7]),
        (|ask| ask.until_unix_ms = NOW_MS, &[6]),
        (
            |ask| {
                ask.since_unix_ms = NOW_MS;
                ask.client = "ana".to_owned();
                ask.status = "ok".to_owned();
            },
            &[1],
        ),
        (|ask| ask.client = "ana' OR '1'='1".to_owned(), &[]),
    ];
    for (ask, expected) in asks {
        let mut asked = AuditListRequest::default();
        ask(&mut asked);
        let rows = query::list(&store, &asked).await.unwrap().rows;
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, expected, "{asked:?}");
    }
}

async fn a_question_that_cannot_be_meant_is_refused(ground: Ground) {
    let store = ground.open().await.unwrap();
    let ask = AuditListRequest::default;
    for refused in [
        AuditListRequest { status: "great".to_owned(), ..ask() },
        AuditListRequest { request_id: "1".to_owned(), ..ask() },
        AuditListRequest { limit: 100_000, ..ask() },
    ] {
        assert!(query::list(&store, &refused).await.is_err(), "{refused:?}");
    }
}

async fn a_listing_is_newest_first_and_says_when_there_is_more(ground: Ground) {
    let store = ground.open().await.unwrap();
    ingest(&store, PLANE, &batch(1, 1..=60), NOW_MS).await.unwrap();
    for (limit, rows, more) in [(0, 50, true), (59, 59, true), (60, 60, false), (100, 60, false)] {
        let reply = query::list(&store, &AuditListRequest { limit, ..AuditListRequest::default() }).await.unwrap();
        assert_eq!((reply.rows.len(), reply.more), (rows, more), "limit {limit}");
        assert_eq!(reply.rows[0].seq, 60);
        assert!(reply.rows.is_sorted_by(|a, b| a.ts_unix_us >= b.ts_unix_us));
    }
}

async fn what_is_older_than_the_retention_goes_and_nothing_else(ground: Ground) {
    let store = ground.open().await.unwrap();
    retention::tend(&store, NOW_US - 40 * DAY_US, 30).await.unwrap();
    let days_ago = [40, 39, 31, 30, 29, 1, 0, -20];
    let mut records: Vec<AuditRecord> =
        (1_u64..).zip(days_ago).map(|(seq, days)| record(seq, &at(seq, NOW_US - days * DAY_US))).collect();
    records.push(record(9, "rubbish"));
    ingest(&store, PLANE, &AuditBatch { epoch: 1, records }, NOW_MS - 35 * DAY_US / 1000).await.unwrap();
    let done = retention::tend(&store, NOW_US, 30).await.unwrap();
    assert!(done.rows + done.partitions >= 3, "{done:?}");
    let asked = AuditListRequest::default();
    let mut left: Vec<u64> = query::list(&store, &asked).await.unwrap().rows.iter().map(|row| row.seq).collect();
    left.sort_unstable();
    assert_eq!(left, [4, 5, 6, 7, 8]);
    assert_eq!(store.audit_counts().await.unwrap().quarantined, 0, "quarantine is kept as long as rows are");
    assert_eq!(retention::tend(&store, NOW_US, 30).await.unwrap(), Forgotten::default());
}

async fn arguments_are_shown_as_the_plane_sent_them(ground: Ground) {
    let store = ground.open().await.unwrap();
    // jsonb would sort, round and refuse these
    for (seq, arguments) in (1..).zip([r#"{"b":1,"a":1.10,"b":2}"#, r#""\ud800""#, "1e400000", r#"{"a":"\u0000"}"#]) {
        let text = event(seq, &format!(r#","arguments":{arguments},"sent":true,"detail":{{"rule":"r"}}"#));
        let batch = AuditBatch { epoch: 1, records: vec![record(seq, &text)] };
        assert_eq!(ingest(&store, PLANE, &batch, NOW_MS).await.unwrap().inserted, 1, "{arguments}");
        let asked = AuditListRequest { limit: 1, ..AuditListRequest::default() };
        let row = query::list(&store, &asked).await.unwrap().rows.remove(0);
        assert_eq!(row.arguments, arguments);
        assert_eq!(row.detail, r#"{"sent":true,"detail":{"rule":"r"}}"#);
        assert_eq!((row.plane_id.as_str(), row.epoch, row.seq, row.count), (PLANE, 1, seq, 1));
        assert_eq!((row.ts_unix_us, row.request_id), (NOW_US + seq.cast_signed(), id(seq)));
        assert_eq!((row.roles, row.latency_us), (vec!["analyst".to_owned()], 12));
    }
}

async fn a_large_store_is_estimated_by_words_that_the_database_knows(ground: Ground) {
    let store = ground.open().await.unwrap();
    ingest(&store, PLANE, &batch(1, 1..=40), NOW_MS).await.unwrap();
    if matches!(ground.place, Place::Postgres(_)) {
        // what autovacuum does in time
        let analyze = Statement::new("ANALYZE audit_logs", []);
        store.engine.write("analyze", vec![analyze]).await.unwrap();
    }
    let about = Statement::new(store.engine.words().about_kept, []);
    let rows = store.engine.read("estimate", about).await.unwrap();
    assert_eq!(rows[0].count("kept").unwrap(), 40);
}

/// The JSON of record `seq`, with another time.
fn at(seq: u64, ts_unix_us: i64) -> String {
    let everyday = NOW_US + seq.cast_signed();
    event(seq, "").replace(&format!("\"ts\":{everyday}"), &format!("\"ts\":{ts_unix_us}"))
}

async fn an_answer_of_large_rows_is_cut_and_says_so(ground: Ground) {
    let store = ground.open().await.unwrap();
    let arguments = format!(r#","arguments":{{"text":"{}"}}"#, "x".repeat(60_000));
    for seq in 1..=160 {
        let batch = AuditBatch { epoch: 1, records: vec![record(seq, &event(seq, &arguments))] };
        ingest(&store, PLANE, &batch, NOW_MS).await.unwrap();
    }
    let asked = AuditListRequest { limit: 160, ..AuditListRequest::default() };
    let reply = query::list(&store, &asked).await.unwrap();
    let bytes = prost::Message::encoded_len(&reply);
    assert!(reply.more && reply.rows.len() > 100 && bytes <= query::MAX_BYTES + 1024, "{} {bytes}", reply.rows.len());
    assert_eq!(reply.rows[0].seq, 160);
}

async fn counts_are_those_of_the_rows_whatever_the_key(ground: Ground) {
    let store = ground.open().await.unwrap();
    const HOUR_US: i64 = 3_600_000_000;
    let mut records = Vec::new();
    for seq in 1..=90 {
        let (tool, hours) = (format!(r#","tool":"t{}""#, seq % 3), i64::try_from(seq % 2).unwrap());
        let mut text = event(seq, &tool).replace("\"latency_us\":12", &format!("\"latency_us\":{}", seq * 1001));
        if seq % 10 == 0 {
            text = text.replace(r#""status":"ok""#, r#""status":"denied""#);
        }
        let everyday = NOW_US + seq.cast_signed();
        records.push(record(
            seq,
            &text.replace(&format!("\"ts\":{everyday}"), &format!("\"ts\":{}", everyday - hours * HOUR_US)),
        ));
    }
    ingest(&store, PLANE, &AuditBatch { epoch: 1, records }, NOW_MS).await.unwrap();
    for (by, keys) in [("tool", 3), ("status", 2), ("client", 1), ("hour", 2), ("backend", 0), ("kind", 0)] {
        let asked = AuditStatsRequest { by: by.to_owned(), ..AuditStatsRequest::default() };
        let reply = stats::stats(&store, &asked, NOW_MS + 1000).await.unwrap();
        assert_eq!(reply.rows.len(), keys, "{by}");
        let total: u64 = reply.rows.iter().map(|row| row.count).sum();
        assert_eq!(total, if keys == 0 { 0 } else { 90 }, "{by}");
        if by == "client" {
            let all = &reply.rows[0];
            let near = |told: u64, real: u64| told <= real && told * 100 >= real * 99;
            assert!(near(all.p50_us, 45 * 1001) && near(all.p95_us, 86 * 1001), "{all:?}");
            assert_eq!(all.statuses.iter().map(|one| one.count).collect::<Vec<_>>(), [9, 81]);
        }
    }
    let filter = Some(AuditListRequest { status: "denied".to_owned(), ..AuditListRequest::default() });
    let asked = AuditStatsRequest { by: "tool".to_owned(), filter };
    let denied: u64 = stats::stats(&store, &asked, NOW_MS + 1000).await.unwrap().rows.iter().map(|row| row.count).sum();
    assert_eq!(denied, 9);
    let wrong = AuditStatsRequest { by: "moon".to_owned(), ..AuditStatsRequest::default() };
    assert!(stats::stats(&store, &wrong, NOW_MS).await.is_err());
}

async fn an_export_gives_each_row_once_also_when_it_is_continued(ground: Ground) {
    let store = ground.open().await.unwrap();
    ingest(&store, PLANE, &batch(1, 1..=300), NOW_MS).await.unwrap();
    ingest(&store, PLANE, &batch(2, 1..=30), NOW_MS).await.unwrap();
    let whole = exported(&store, "").await;
    assert_eq!(whole.0.len(), 330);
    assert!(whole.0.is_sorted_by_key(|stored| stored.row.as_ref().unwrap().ts_unix_us));
    assert_eq!(whole.1, [(1, 300), (2, 30)]);
    assert_eq!(whole.0[7].event, event(whole.0[7].row.as_ref().unwrap().seq, "").into_bytes());
    let half = &whole.0[..170];
    let rest = exported(&store, &half[169].cursor).await;
    let all: Vec<_> = half.iter().chain(&rest.0).map(|stored| stored.cursor.clone()).collect();
    assert_eq!(all, whole.0.iter().map(|stored| stored.cursor.clone()).collect::<Vec<_>>());
    let wrong = AuditExportRequest { after: "there".to_owned(), ..AuditExportRequest::default() };
    assert!(Export::new(store, wrong, NOW_MS).is_err());
}

async fn exported(store: &crate::store::Store, after: &str) -> (Vec<AuditStored>, Vec<(u64, u64)>) {
    let (out, mut pieces) = tokio::sync::mpsc::channel::<Result<AuditExportPiece, tonic::Status>>(1);
    let asked = AuditExportRequest { after: after.to_owned(), ..AuditExportRequest::default() };
    let export = Export::new(store.clone(), asked, NOW_MS + 1000).unwrap();
    let reading = async {
        let (mut rows, mut heads) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.recv().await {
            let piece = piece.unwrap();
            rows.extend(piece.rows);
            heads.extend(piece.heads.into_iter().map(|head| (head.epoch, head.seq)));
        }
        (rows, heads)
    };
    tokio::join!(export.run(out), reading).1
}

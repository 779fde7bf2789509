//! Promises of `audit verify`: whole chains are whole, also after retention, and what is not is named with its place.

use std::collections::BTreeMap;

use sentinel_proto::v1::{AuditBatch, AuditRecord, AuditVerifyPiece, ChainVerdict};
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;

use super::promises;
use super::records::{PLANE, id};
use crate::audit::ingest::ingest;
use crate::audit::retention;
use crate::audit::verify::{self, Hash, Said, hash};
use crate::secrets::{hex, sha256};
use crate::store::Store;
use crate::store::chains::Chain;
use crate::store::engine::Statement;
use crate::store::fixtures::{Ground, NOW_MS, NOW_US};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

promises!(
    chains_of_three_planes_with_restarts_are_whole,
    what_retention_took_is_no_damage_and_said,
    a_poisoned_record_in_quarantine_is_part_of_its_chain,
    an_end_that_the_plane_or_the_next_run_knows_is_missed,
    a_run_that_is_gone_is_missed,
    the_last_record_is_proven_by_the_head_that_the_plane_tells,
    arguments_that_say_something_else_than_the_record_are_named,
);

/// A run of a plane: its records, chained as planes do it.
fn run(
    plane: &str,
    epoch: u64,
    before: (u64, Hash),
    count: u64,
    from_us: i64,
    step_us: i64,
) -> (Vec<AuditRecord>, Hash) {
    let chain = Chain { plane_id: plane.to_owned(), epoch };
    let mut last = sha256(&[plane.as_bytes(), &epoch.to_be_bytes(), &before.1].concat());
    let mut records = Vec::new();
    for seq in 1..=count {
        let (method, detail) = if seq == 1 {
            let named = format!(r#"{{"previous_epoch":{},"previous_hash":"{}"}}"#, before.0, hex(&before.1));
            ("plane/start", format!(r#","detail":{named}"#))
        } else {
            ("tools/call", String::new())
        };
        let at = from_us + i64::try_from(seq).unwrap() * step_us;
        let event = format!(
            r#"{{"v":1,"id":"{}","ts":{at},"method":"{method}","status":"ok","count":1,"latency_us":9{detail}}}"#,
            id(seq)
        );
        let next = hash(&last, &chain, seq, event.as_bytes());
        records.push(AuditRecord { seq, prev_hash: last.to_vec(), event: event.into_bytes() });
        last = next;
    }
    (records, last)
}

async fn keep(store: &Store, plane: &str, epoch: u64, records: &[AuditRecord]) {
    for piece in records.chunks(400) {
        ingest(store, plane, &AuditBatch { epoch, records: piece.to_vec() }, NOW_MS).await.unwrap();
    }
}

async fn verified(store: &Store, said: &[(&str, Said)]) -> Vec<ChainVerdict> {
    let (out, mut pieces) = mpsc::channel::<Result<AuditVerifyPiece, tonic::Status>>(4);
    let said: BTreeMap<String, Said> = said.iter().map(|(plane, said)| ((*plane).to_owned(), *said)).collect();
    let reading = async {
        let mut chains = Vec::new();
        while let Some(piece) = pieces.recv().await {
            chains.extend(piece.unwrap().chains);
        }
        chains
    };
    tokio::join!(verify::run(store.clone(), said, out), reading).1
}

fn said(epoch: u64, stored: u64) -> Said {
    Said { epoch, stored, head: None, first_seen_ms: NOW_MS }
}

async fn chains_of_three_planes_with_restarts_are_whole(ground: Ground) {
    let store = ground.open().await.unwrap();
    let mut ends = Vec::new();
    for number in 1..=3 {
        let plane = format!("0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f000{number}");
        let mut before = (0, [0; 32]);
        for epoch in [number * 100 + 7, number * 100 + 3] {
            let (records, end) = run(&plane, epoch, before, 450, NOW_US, 10);
            keep(&store, &plane, epoch, &records).await;
            before = (epoch, end);
        }
        ends.push((plane, said(before.0, 450)));
    }
    let told: Vec<(&str, Said)> = ends.iter().map(|(plane, said)| (plane.as_str(), *said)).collect();
    let chains = verified(&store, &told).await;
    assert_eq!(chains.len(), 6);
    for chain in &chains {
        assert_eq!((chain.problem.as_str(), chain.from_seq, chain.to_seq, chain.rows), ("", 1, 450, 450), "{chain:?}");
    }
}

async fn what_retention_took_is_no_damage_and_said(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (records, end) = run(PLANE, 5, (0, [0; 32]), 100, NOW_US - 40 * DAY_US, DAY_US / 3);
    keep(&store, PLANE, 5, &records).await;
    let (more, _) = run(PLANE, 4, (5, end), 10, NOW_US, 10);
    keep(&store, PLANE, 4, &more).await;
    let old = Said { first_seen_ms: NOW_MS - 41 * DAY_US / 1000, ..said(4, 10) };
    assert!(verified(&store, &[(PLANE, old)]).await.iter().all(|chain| chain.problem.is_empty()));
    retention::tend(&store, NOW_US, 30).await.unwrap();
    let chains = verified(&store, &[(PLANE, old)]).await;
    let rest = chains.iter().find(|chain| chain.epoch == 5).unwrap();
    assert_eq!((rest.problem.as_str(), rest.to_seq), ("", 100), "{rest:?}");
    assert!(rest.from_seq > 20 && rest.message.contains("retention"), "{rest:?}");
    // A plane that is younger than the edge of the retention cannot have lost anything to it.
    let young = Said { first_seen_ms: NOW_MS, ..old };
    let chains = verified(&store, &[(PLANE, young)]).await;
    assert_eq!(chains.iter().find(|chain| chain.epoch == 5).unwrap().problem, "hole");
}

async fn a_poisoned_record_in_quarantine_is_part_of_its_chain(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (mut records, _) = run(PLANE, 9, (0, [0; 32]), 6, NOW_US, 10);
    let chain = Chain { plane_id: PLANE.to_owned(), epoch: 9 };
    // Record 4 is rubbish, and its followers were made after it.
    records[3].event = b"{\"v\":1,".to_vec();
    for at in 4..6 {
        let before = &records[at - 1];
        records[at].prev_hash = hash(&before.prev_hash, &chain, before.seq, &before.event).to_vec();
    }
    keep(&store, PLANE, 9, &records).await;
    assert_eq!(store.audit_counts().await.unwrap().quarantined, 1);
    let chains = verified(&store, &[(PLANE, said(9, 6))]).await;
    assert_eq!((chains[0].problem.as_str(), chains[0].to_seq, chains[0].rows), ("", 6, 6), "{chains:?}");
}

async fn an_end_that_the_plane_or_the_next_run_knows_is_missed(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (first, end) = run(PLANE, 8, (0, [0; 32]), 20, NOW_US, 10);
    let (second, _) = run(PLANE, 2, (8, end), 20, NOW_US, 10);
    keep(&store, PLANE, 8, &first[..18]).await;
    keep(&store, PLANE, 2, &second[..15]).await;
    let chains = verified(&store, &[(PLANE, said(2, 20))]).await;
    let places: Vec<_> = chains.iter().map(|chain| (chain.epoch, chain.problem.as_str(), chain.at_seq)).collect();
    assert_eq!(places, [(2, "truncated", 16), (8, "truncated", 19)]);
}

async fn a_run_that_is_gone_is_missed(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (second, _) = run(PLANE, 2, (8, [4; 32]), 20, NOW_US, 10);
    keep(&store, PLANE, 2, &second).await;
    let other = "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0002";
    let chains = verified(&store, &[(PLANE, said(2, 20)), (other, said(6, 3))]).await;
    let places: Vec<_> = chains.iter().map(|chain| (chain.epoch, chain.problem.as_str(), chain.at_seq)).collect();
    assert_eq!(places, [(2, "hole", 1), (6, "truncated", 1)]);
}

async fn the_last_record_is_proven_by_the_head_that_the_plane_tells(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (mut records, end) = run(PLANE, 3, (0, [0; 32]), 12, NOW_US, 10);
    records[11].event = String::from_utf8(records[11].event.clone()).unwrap().replace("\"ok\"", "\"no\"").into_bytes();
    keep(&store, PLANE, 3, &records).await;
    let of = |head| verified_one(&store, Said { head, ..said(3, 12) });

    let unproven = of(None).await;
    assert_eq!((unproven.problem.as_str(), unproven.message.contains("record 12 is not proven")), ("", true));
    let told = of(Some((12, end))).await;
    assert_eq!((told.problem.as_str(), told.at_seq), ("changed", 12), "{told:?}");
    // What came after it is not judged by it.
    let before: Hash = records[11].prev_hash.clone().try_into().unwrap();
    let earlier = of(Some((11, before))).await;
    assert_eq!((earlier.problem.as_str(), earlier.message.contains("record 12 is not proven")), ("", true));
}

async fn verified_one(store: &Store, said: Said) -> ChainVerdict {
    verified(store, &[(PLANE, said)]).await.remove(0)
}

async fn arguments_that_say_something_else_than_the_record_are_named(ground: Ground) {
    let store = ground.open().await.unwrap();
    let (mut records, _) = run(PLANE, 3, (0, [0; 32]), 7, NOW_US, 10);
    let chain = Chain { plane_id: PLANE.to_owned(), epoch: 3 };
    let arguments = [
        r#"{"b":1,"a":[1.10,1e2,{"x":null,"x":"\u00e4"}]}"#,
        r#"{"a":"\u0000"}"#,
        "1e400000",
        r#"{"text":"mine"}"#,
        "null",
        "[]",
    ];
    for (at, arguments) in (1..).zip(arguments) {
        let text = String::from_utf8(records[at].event.clone()).unwrap();
        records[at].event = text.replace(r#","status""#, &format!(r#","arguments":{arguments},"status""#)).into_bytes();
        let before = &records[at - 1];
        records[at].prev_hash = hash(&before.prev_hash, &chain, before.seq, &before.event).to_vec();
    }
    keep(&store, PLANE, 3, &records).await;
    let said = said(3, 7);
    let whole = verified_one(&store, said).await;
    assert_eq!((whole.problem.as_str(), whole.to_seq), ("", 7), "{whole:?}");

    let excuse = "not held by the database (22P05), see event";
    for (seq, column) in [
        (5, r#"arguments = '{"text":"theirs"}'"#.to_owned()),
        (5, "arguments = NULL".to_owned()),
        (5, format!("arguments = NULL, arguments_note = '{excuse}'")),
        (6, "arguments = '{}'".to_owned()),
        (7, "arguments_note = 'too long'".to_owned()),
    ] {
        let asked = format!("UPDATE audit_logs SET {column} WHERE seq = {seq}");
        store.engine.write("forge", vec![Statement::new(AssertSqlSafe(asked), [])]).await.unwrap();
        let found = verified_one(&store, said).await;
        assert_eq!((found.problem.as_str(), found.at_seq), ("changed", seq), "{column}: {found:?}");
        assert!(found.message.contains("column arguments"), "{found:?}");
        let back = r#"UPDATE audit_logs SET arguments = CASE seq WHEN 5 THEN TEXT WHEN 7 THEN '[]' END, arguments_note = '' WHERE seq > 4"#
            .replace("TEXT", r#"'{"text":"mine"}'"#);
        let back = if store.kind() == "postgres" { back.replace("END,", "END::jsonb,") } else { back };
        store.engine.write("mend", vec![Statement::new(AssertSqlSafe(back), [])]).await.unwrap();
    }
    assert_eq!(verified_one(&store, said).await.problem, "");
}

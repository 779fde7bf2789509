//! `audit tail`, `audit export` and `audit stats` against real daemons.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::program;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

/// `sentinelctl` as a process whose output is read while it runs.
fn started(fleet: &Fleet, line: &str) -> Child {
    std::process::Command::new(program("sentinelctl"))
        .args(line.split_whitespace())
        .arg("--data-dir")
        .arg(fleet.folder().join("control"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_tail_shows_what_fits_as_it_comes() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("op", "operator").await;
    let before = client.call("example__echo", json!({ "text": "before" })).await;
    let _rows = fleet.audit_rows(&before.request_id()).await;
    let mut tail = started(&fleet, "audit tail --output json --tool example__echo --limit 5");
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut row = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(row()["request_id"], before.request_id());
    let _other = client.call("example__add", json!({ "a": 1, "b": 2 })).await;
    let after = client.call("example__echo", json!({ "text": "after" })).await;
    let shown = row();
    assert_eq!((&shown["request_id"], &shown["arguments"]["text"]), (&json!(after.request_id()), &json!("after")));
    drop(lines);
    // The next row finds nobody who reads: that is a quiet end.
    let _one_more = client.call("example__echo", json!({ "text": "more" })).await;
    let ended = tokio::task::spawn_blocking(move || tail.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned()), (Some(0), String::new()));
}

#[tokio::test]
async fn an_export_is_whole_can_be_continued_and_ends_quietly_in_head() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("op", "operator").await;
    let mut last = String::new();
    for number in 0..20 {
        last = client.call("example__echo", json!({ "text": format!("no {number}, \u{1b}[2J") })).await.request_id();
    }
    let _rows = fleet.audit_rows(&last).await;
    let ran = fleet.ctl("audit export").await.exits(0);
    assert!(!ran.stdout.contains('\u{1b}'));
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (rows, heads): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["type"] == "row");
    assert!(rows.len() >= 22 && heads.len() == 1, "{} {heads:?}", rows.len());
    let record: Value = serde_json::from_str(rows.last().unwrap()["event"].as_str().unwrap()).unwrap();
    assert_eq!((&record["id"], &record["tool"]), (&json!(last), &json!("example__echo")));
    let verified = fleet.ctl("audit verify --output json").await.json();
    assert_eq!(
        (&heads[0]["hash"], &heads[0]["seq"]),
        (&verified["chains"][0]["head"], &verified["chains"][0]["to_seq"])
    );

    let cursor = rows[9]["cursor"].as_str().unwrap();
    let rest = fleet.ctl(&format!("audit export --after {cursor}")).await.exits(0);
    assert_eq!(rest.stdout.lines().filter(|line| line.contains("\"row\"")).count(), rows.len() - 10);
    let _wrong = fleet.ctl("audit export --after nowhere").await.exits(2).says("is no cursor");
    let only = fleet.ctl("audit export --tool example__echo --status ok").await.exits(0);
    assert_eq!(only.stdout.lines().filter(|line| line.contains("\"row\"")).count(), 20);

    let csv = fleet.ctl("audit export --format csv").await.exits(0);
    assert!(csv.stdout.starts_with("type,cursor,request_id,ts,client,"), "{csv:?}");
    assert_eq!(csv.stdout.lines().count(), rows.len() + 2);

    let mut head = started(&fleet, "audit export");
    let mut lines = BufReader::new(head.stdout.take().unwrap()).lines();
    let _first = lines.next().unwrap().unwrap();
    drop(lines);
    let ended = tokio::task::spawn_blocking(move || head.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned()), (Some(0), String::new()));
}

#[tokio::test]
async fn stats_count_calls_by_tool_client_status_and_hour() {
    let fleet = Fleet::start(Setup::example()).await;
    let (op, an) = (fleet.client("op", "operator").await, fleet.client("an", "analyst").await);
    for _ in 0..6 {
        let _answered = op.call("example__echo", json!({ "text": "x" })).await;
    }
    let _failed = op.call("example__fail", json!({ "message": "no" })).await;
    let last = an.call("example__counter", json!({})).await;
    let _rows = fleet.audit_rows(&last.request_id()).await;
    let by = async |key: &str| fleet.ctl(&format!("audit stats --by {key} --output json")).await.json();
    let tools = by("tool").await;
    assert_eq!((&tools["rows"][0]["key"], &tools["rows"][0]["count"]), (&json!("example__echo"), &json!(6)));
    let failed = tools["rows"].as_array().unwrap().iter().find(|row| row["key"] == "example__fail").unwrap();
    assert_eq!((&failed["error_share"], &failed["statuses"]), (&json!(1.0), &json!({ "tool_error": 1 })));
    assert!(tools["rows"][0]["p95_us"].as_u64().unwrap() >= tools["rows"][0]["p50_us"].as_u64().unwrap());
    let denied = by("status").await;
    assert!(
        denied["rows"].as_array().unwrap().iter().any(|row| row["key"] == "denied" && row["count"] == 1),
        "{denied}"
    );
    assert_eq!(by("client").await["rows"][0]["key"], "op");
    assert!(by("hour").await["rows"][0]["key"].as_str().unwrap().ends_with(":00:00Z"));
    let table = fleet.ctl("audit stats").await.exits(0).says("example__echo");
    assert!(table.stdout.contains("P95 MS"), "{table:?}");
    let _wrong = fleet.ctl("audit stats --by moon").await.exits(2);
}

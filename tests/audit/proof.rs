//! Thousands of calls while the control plane is killed, then the plane, then Postgres is away. `SENTINEL_PROOF=1` is the
//! long version: 20 000 calls and more deaths; its numbers are printed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::{Answered, CANARY, Load, Seen};
use sentinel_tests::harness::postgres::Postgres;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until, until_within};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::Instant;

/// How much is done.
struct Size {
    calls: usize,
    deaths_of_the_plane: usize,
    without_postgres: Duration,
    /// Looked up one by one, by `sentinelctl audit list --request-id`.
    looked_up: usize,
}

fn size() -> Size {
    if std::env::var_os("SENTINEL_PROOF").is_some_and(|value| value == "1") {
        let without_postgres = Duration::from_secs(30);
        Size { calls: 20_000, deaths_of_the_plane: 5, without_postgres, looked_up: 1000 }
    } else {
        Size { calls: 3000, deaths_of_the_plane: 1, without_postgres: Duration::from_secs(4), looked_up: 60 }
    }
}

/// A row as the store has it.
struct Stored {
    id: String,
    status: String,
    kind: String,
    count: i64,
    text: String,
}

async fn stored(postgres: &Postgres) -> Vec<Stored> {
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let rows = sqlx::query(
        "SELECT request_id::text, status, coalesce(kind, '') AS kind, count::bigint, row_to_json(audit_logs)::text AS all \
         FROM sentinel.audit_logs WHERE method NOT IN ('plane/start', 'initialize')",
    );
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    let each = rows.into_iter().map(|row| Stored {
        id: row.get(0),
        status: row.get(1),
        kind: row.get(2),
        count: row.get(3),
        text: row.get(4),
    });
    each.collect()
}

#[tokio::test]
async fn p03_p06_each_answered_call_has_one_row_through_every_death() {
    let size = size();
    let mut postgres = Postgres::start().await;
    let mut fleet = Fleet::start(Setup::example().postgres(&postgres.url())).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        let token = fleet.token(&format!("load-{number}"), "operator").await;
        clients.push(Client::connected(&fleet.planes[0].url(), &token).await);
    }
    let part = size.calls / 8;
    let load = Load::start(clients);
    load.goes_on_for(part).await;

    fleet.control_plane.kill().await;
    load.goes_on_for(part).await;
    fleet.control_plane.restart().await;
    load.goes_on_for(part).await;
    let before_death = load.failed();

    for _ in 0..size.deaths_of_the_plane {
        fleet.planes[0].process.kill().await;
        fleet.planes[0].process.restart().await;
        load.goes_on_for(part).await;
    }
    let deaths = load.failed() - before_death;

    fleet.until_ready().await;
    let before_outage = (load.failed(), load.answered());
    postgres.stop();
    let since = Instant::now();
    until("Postgres was away for long enough", async || holds(since.elapsed() >= size.without_postgres)).await;
    load.goes_on_for(part).await;
    let in_outage = load.answered() - before_outage.1;
    assert!(fleet.control_plane.is_running());
    postgres.resume().await;
    load.goes_on_for(part).await;
    let rest = size.calls.saturating_sub(load.answered());
    load.goes_on_for(rest).await;
    let after_deaths = load.failed() - before_outage.0;
    let seen = load.stop().await;

    assert_eq!((before_death, after_deaths), (0, 0), "calls fail for no death but the plane's own: {:?}", seen.failed);
    // At its end the plane writes what it has counted of refusals that share a row.
    fleet.planes[0].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[0].process.wait().await.success());
    // What the store, back a moment ago, had not taken by then lies in the spool, and goes with the next start.
    fleet.planes[0].process.restart().await;
    let rows = complete(&postgres, &seen).await;
    for line in judge(&seen, &rows, size.deaths_of_the_plane) {
        println!("{line}");
    }
    look_up(&fleet, &seen, size.looked_up).await;
    println!(
        "{} calls answered ({in_outage} of them without Postgres), {} cut by {} deaths of the plane; {} rows, each answered \
         call has one, none has two; {} looked up by request id",
        seen.answered.len(),
        deaths,
        size.deaths_of_the_plane,
        rows.len(),
        size.looked_up
    );
}

/// The rows, once those of all results are there.
async fn complete(postgres: &Postgres, seen: &Seen) -> Vec<Stored> {
    until_within(Duration::from_secs(300), "the store has the row of each result", async || {
        let rows = stored(postgres).await;
        let there: HashSet<&str> = rows.iter().map(|row| &*row.id).collect();
        let missing = seen.answered.iter().filter(|one| one.is_echo() && !there.contains(&*one.request_id)).count();
        if missing == 0 { Ok(rows) } else { Err(missing) }
    })
    .await
}

/// Gives, in a sentence each, which refusals have no row of their own.
fn judge(seen: &Seen, rows: &[Stored], deaths: usize) -> Vec<String> {
    let mut by_id: HashMap<&str, Vec<&Stored>> = HashMap::new();
    for row in rows {
        by_id.entry(&row.id).or_default().push(row);
        assert!(!row.text.contains(CANARY), "a secret argument is in the store: {}", row.text);
    }
    assert_eq!(by_id.len(), rows.len(), "a call has two rows");
    let answered: HashSet<&str> = seen.answered.iter().map(|one| &*one.request_id).collect();
    let mut folded: HashMap<&str, i64> = HashMap::new();
    for Answered { request_id, message, .. } in &seen.answered {
        let kind = message["error"]["data"]["kind"].as_str().unwrap_or("");
        match by_id.get(&**request_id).map(Vec::as_slice) {
            Some([row]) => {
                let fits = if kind.is_empty() { row.status == "ok" } else { row.kind == kind };
                assert!(fits && row.count == 1, "{message} {}", row.text);
            }
            _ => *folded.entry(kind).or_default() += 1,
        }
    }
    // Only while the plane began again: refusals that share a row, or that came before anybody was known.
    let mut shared = Vec::new();
    for (kind, missing) in folded {
        assert!(!kind.is_empty(), "{missing} results have no row");
        let counted: i64 =
            rows.iter().filter(|row| row.kind == kind && !answered.contains(&*row.id)).map(|row| row.count).sum();
        shared.push(format!("{missing} refusals of kind {kind} share rows that count {counted}"));
        // What a plane has counted and not written yet ends with it: only the last death is judged.
        assert!(deaths > 1 || counted >= missing, "{missing} of kind {kind} are counted nowhere");
    }
    // What has a row and no answer was cut by a death.
    let unanswered = rows.iter().filter(|row| row.kind.is_empty() && !answered.contains(&*row.id)).count();
    assert!(unanswered <= seen.failed.len(), "{unanswered} rows of calls that nobody made");
    shared
}

async fn look_up(fleet: &Fleet, seen: &Seen, count: usize) {
    let echoed: Vec<_> = seen.answered.iter().filter(|answered| answered.is_echo()).collect();
    let chosen = echoed.iter().step_by((echoed.len() / count).max(1));
    let mut lookups = futures_util::stream::iter(chosen.map(|answered| async move {
        let rows = fleet.audit_rows(&answered.request_id).await;
        (rows.len(), rows[0]["arguments"]["text"] == answered.nonce)
    }))
    .buffer_unordered(4);
    while let Some(found) = lookups.next().await {
        assert_eq!(found, (1, true));
    }
}

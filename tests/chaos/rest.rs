//! After the last fault: does all come back, is all given back, and what do rows, logs and processes say.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Plane;
use sentinel_tests::harness::process::bearers;
use sentinel_tests::harness::until::{holds, until};
use sentinel_tests::history::{Answer, Executed, History, Level, Made, Row};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use tokio::time::Instant;

use crate::load::Load;
use crate::scene::{BACKENDS, Scene};

/// Within which everything serves again, and everything is given back.
const BACK: Duration = Duration::from_secs(45);
const GIVEN_BACK: Duration = Duration::from_secs(20);
/// Good calls of each backend that prove that it is back.
const PROOF: usize = 20;
/// Descriptors of connections that lie idle for a while, and of another start's files.
const MORE_DESCRIPTORS: u64 = 24;
/// A debug build's allocator keeps what it once needed.
const MORE_MEMORY_KB: u64 = 96 << 10;

/// What must not grow: descriptors, and memory in KiB.
pub(crate) fn levels(scene: &Scene) -> [u64; 2] {
    let plane = &scene.fleet.planes[0];
    [descriptors(plane), memory_kb(plane)]
}

fn descriptors(plane: &Plane) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", plane.process.pid())).map_or(0, Iterator::count);
    u64::try_from(open).unwrap()
}

fn memory_kb(plane: &Plane) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", plane.process.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Stops the load and everything else, and gathers what all of them say.
pub(crate) async fn after(scene: &mut Scene, load: Load, before: [u64; 2]) -> History {
    let mut history = History { dead: back(scene, &load).await, ..History::default() };
    if history.dead.is_empty() {
        load.forks().await;
    }
    history.made = load.stop().await;
    history.levels = given_back(scene, before).await;
    // What `fork` left goes with its generation.
    let pid = scene.child("rough");
    let _ran = scene.fleet.ctl("backend restart rough").await;
    until("another process serves", async || holds(scene.child("rough").is_some_and(|new| Some(new) != pid))).await;
    history.strays = strays(scene, &["good", "rough"]).await;

    if scene.deaths == 0 {
        history.counted = counted(scene).await;
    }
    let ended = &mut scene.fleet.planes[0].process;
    ended.signal(Signal::SIGTERM);
    let status = ended.wait().await;
    if status.code() != Some(0) {
        history.dead.push(format!("the plane ended with {status:?}"));
    }
    history.strays.extend(strays(scene, &[]).await);
    // What it had not shipped when it ended is shipped by the next start.
    scene.fleet.planes[0].process.restart().await;
    history.rows = rows(scene, &history.made).await;
    for backend in BACKENDS {
        let received = match backend {
            "wild" => scene.wild.received(),
            "worn" => scene.worn.received(),
            other => scene.fleet.received(other),
        };
        let calls = received.events().into_iter().filter(|event| event["event"] == "call");
        history.executed.extend(calls.map(|call| Executed {
            backend: backend.into(),
            nonce: call["arguments"]["nonce"].as_str().unwrap_or_default().into(),
        }));
    }
    history
}

/// Names what does not serve again in time.
async fn back(scene: &Scene, load: &Load) -> Vec<String> {
    scene.heal();
    load.calms();
    let end = Instant::now() + BACK;
    let mut dead = Vec::new();
    until("each backend serves again", async || {
        scene.revive().await;
        dead = BACKENDS.iter().enumerate().filter(|(at, _)| load.good(*at) < PROOF).map(|(_, name)| *name).collect();
        if dead.is_empty() || Instant::now() > end { Ok(()) } else { Err(dead.clone()) }
    })
    .await;
    let said = if dead.is_empty() { String::new() } else { scene.fleet.ctl("backend list").await.stdout };
    dead.into_iter().map(|name| format!("{name} does not serve again within {} s\n{said}", BACK.as_secs())).collect()
}

async fn given_back(scene: &Scene, before: [u64; 2]) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut series: Vec<String> =
        BACKENDS.iter().map(|name| format!("sentinel_backend_inflight{{backend=\"{name}\"}}")).collect();
    series.push("sentinel_in_flight".into());
    for what in series {
        let left = scene.metric_is(&what, 0.0, GIVEN_BACK).await.err().unwrap_or(0.0);
        // Not there at all is as bad as one too many.
        let after = if left.is_nan() { u64::MAX } else { left as u64 };
        levels.push(Level { what, before: 0, after, most: 0 });
    }
    let plane = &scene.fleet.planes[0];
    let end = Instant::now() + GIVEN_BACK;
    until("descriptors are closed", async || {
        let now = descriptors(plane);
        if now <= before[0] + MORE_DESCRIPTORS || Instant::now() > end { Ok(()) } else { Err(now) }
    })
    .await;
    let [fds, memory] = self::levels(scene);
    levels.push(Level { what: "descriptors".into(), before: before[0], after: fds, most: MORE_DESCRIPTORS });
    levels.push(Level { what: "memory, KiB".into(), before: before[1], after: memory, most: MORE_MEMORY_KB });
    levels
}

/// Processes that bear our marker and are none of these backends' servers, once they had time to go.
async fn strays(scene: &Scene, servers: &[&str]) -> Vec<String> {
    let data_dir = scene.fleet.planes[0].data_dir().to_owned();
    let end = Instant::now() + GIVEN_BACK;
    let mut left = Vec::new();
    until("no stray is left", async || {
        let own: Vec<u32> = servers.iter().filter_map(|name| scene.child(name)).collect();
        left = bearers(&data_dir).into_iter().filter(|pid| !own.contains(pid)).map(described).collect();
        if left.is_empty() || Instant::now() > end { Ok(()) } else { Err(left.clone()) }
    })
    .await;
    left
}

/// A process in words.
fn described(pid: u32) -> String {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid}: {}", String::from_utf8_lossy(&command).replace('\0', " ").trim())
}

/// Calls that the plane counted.
async fn counted(scene: &Scene) -> Option<u64> {
    let (_, text) = scene.fleet.planes[0].ops("/metrics").await?;
    let series = text.lines().filter_map(|line| line.strip_prefix("sentinel_requests_total{")?.rsplit_once(' '));
    let counts = series.filter_map(|(_, count)| count.trim().parse::<f64>().ok());
    Some(counts.sum::<f64>() as u64)
}

/// The rows, once those of all answers are there; what is missing in the end is for the judge.
async fn rows(scene: &Scene, made: &[Made]) -> Vec<Row> {
    let file = scene.fleet.folder().join("control/controlplane/sentinel.db");
    let wanted: Vec<&str> = made
        .iter()
        .filter_map(|made| match &made.answer {
            Answer::Result { request_id, .. } | Answer::Passed { request_id } => Some(&**request_id),
            Answer::Refused { .. } | Answer::None { .. } => None,
        })
        .collect();
    let end = Instant::now() + BACK;
    let mut rows = Vec::new();
    until("the store has the rows", async || {
        rows = stored(&file).await.map_err(|error| error.to_string())?;
        let there: std::collections::HashSet<&str> = rows.iter().map(|row: &Row| &*row.request_id).collect();
        let missing = wanted.iter().filter(|id| !there.contains(*id)).count();
        let is_shipped = scene.fleet.planes[0].metric("sentinel_audit_backlog").await == Some(0.0);
        if missing == 0 && is_shipped || Instant::now() > end { Ok(()) } else { Err(format!("{missing} missing")) }
    })
    .await;
    // Once more: what was shipped between the look and the word that all is.
    stored(&file).await.unwrap_or(rows)
}

async fn stored(file: &Path) -> sqlx::Result<Vec<Row>> {
    let mut store = SqliteConnectOptions::new().filename(file).read_only(true).connect().await?;
    let rows = sqlx::query(
        "SELECT request_id, client, tool, status, kind, count, coalesce(arguments, '') AS arguments \
         FROM audit_logs WHERE method = 'tools/call'",
    );
    let rows = rows.fetch_all(&mut store).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let arguments: String = row.get("arguments");
            let arguments: serde_json::Value = serde_json::from_str(&arguments).unwrap_or_default();
            Row {
                request_id: row.get("request_id"),
                client: row.get("client"),
                tool: row.get("tool"),
                status: row.get("status"),
                kind: row.get("kind"),
                count: row.get::<i64, _>("count").try_into().unwrap_or(0),
                nonce: arguments["nonce"].as_str().unwrap_or_default().to_owned(),
            }
        })
        .collect())
}

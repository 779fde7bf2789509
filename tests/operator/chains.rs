//! `audit verify` on a long trail: three planes, each started several times, walked whole within bounded memory; and any
//! damage in the middle of it is named. `SENTINEL_PROOF=1`: 100 000 rows, its numbers are printed.

use std::process::Stdio;
use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::Load;
use sentinel_tests::harness::postgres::Postgres;
use sentinel_tests::harness::process::program;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until_within;
use serde_json::Value;
use tokio::time::Instant;

use crate::tamper::{Store, bad, names, newest, verify};

/// More than a long walk adds to what the programs hold anyway.
const BOUND_KIB: u64 = 48 * 1024;

/// How much is done.
struct Size {
    rows: usize,
    /// Starts of each plane.
    runs: usize,
    /// Every so manieth kind of damage; all kinds are in `damage.rs`.
    damages: usize,
}

fn size() -> Size {
    if std::env::var_os("SENTINEL_PROOF").is_some_and(|value| value == "1") {
        Size { rows: 100_000, runs: 3, damages: 1 }
    } else {
        Size { rows: 900, runs: 2, damages: 4 }
    }
}

/// The most memory that a process has held so far.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Three planes that are restarted, the first time after SIGKILL, and calls all the while.
async fn grown(setup: Setup, size: &Size) -> Fleet {
    let mut fleet = Fleet::start(setup.planes(3)).await;
    let token = fleet.token("op", "operator").await;
    for round in 1..=size.runs {
        let mut clients = Vec::new();
        for plane in &fleet.planes {
            for _ in 0..3 {
                clients.push(Client::connected(&plane.url(), &token).await);
            }
        }
        let load = Load::start(clients);
        // Each step has a deadline, not the whole.
        while load.answered() < size.rows / size.runs {
            load.goes_on_for(300).await;
        }
        let seen = load.stop().await;
        assert_eq!(seen.failed, Vec::<String>::new());
        for plane in fleet.planes.iter_mut().filter(|_| round < size.runs) {
            if round == 1 {
                plane.process.kill().await;
            } else {
                plane.process.signal(nix::sys::signal::Signal::SIGTERM);
            }
            plane.process.restart().await;
        }
        fleet.until_ready().await;
    }
    fleet
}

/// Until all that the planes have is stored and proven to its end.
async fn whole(fleet: &Fleet) -> Value {
    until_within(Duration::from_secs(300), "every chain is whole to its end", async || {
        let told = verify(fleet).await;
        let open = told["chains"].as_array().unwrap().iter().any(|chain| chain["message"] != "");
        if open { Err(told) } else { Ok(told) }
    })
    .await
}

/// How long `audit verify` takes, and the most memory that it held.
fn timed(fleet: &Fleet) -> (Duration, u64) {
    let since = Instant::now();
    let mut running = std::process::Command::new(program("sentinelctl"))
        .args(["audit", "verify", "--quiet", "--data-dir"])
        .arg(fleet.folder().join("control"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak_kib(running.id()).map_or(peak, |now| now.max(peak));
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert!(status.success());
    (since.elapsed(), peak)
}

/// Gives its numbers, in a sentence.
async fn a_long_trail_is_walked(fleet: Fleet, store: Store, size: &Size) -> String {
    let told = whole(&fleet).await;
    let chains = told["chains"].as_array().unwrap();
    assert_eq!((bad(&told).len(), chains.len()), (0, 3 * size.runs), "{told}");
    assert!(told["rows"].as_u64().unwrap() >= size.rows as u64, "{told}");
    let control_plane = fleet.control_plane.pid();
    let before = peak_kib(control_plane).unwrap();

    let (took, ctl) = timed(&fleet);

    let after = peak_kib(control_plane).unwrap();
    let numbers = format!(
        "{} rows in {} chains walked in {} ms; control plane at most {after} KiB ({before} before), sentinelctl {ctl} KiB",
        told["rows"],
        chains.len(),
        took.as_millis()
    );
    assert!(after < before + BOUND_KIB && ctl < BOUND_KIB, "{before} {after} {ctl}");
    let (epoch, end) = newest(&fleet, &told).await;
    store.keep().await;
    for damage in store.damages(epoch, end / 2, end).into_iter().step_by(size.damages) {
        store.make(&damage).await;
        until_within(Duration::from_secs(60), &damage.to_string(), async || {
            names(verify(&fleet).await, &damage, epoch)
        })
        .await;
        store.undo(epoch).await;
    }
    assert_eq!(bad(&verify(&fleet).await).len(), 0);
    numbers
}

#[tokio::test]
async fn three_planes_with_restarts_are_whole_and_any_damage_is_named_sqlite() {
    let size = size();
    let fleet = grown(Setup::example(), &size).await;
    let path = fleet.folder().join("control/controlplane/sentinel.db").display().to_string();
    println!("{}", a_long_trail_is_walked(fleet, Store::Sqlite(path), &size).await);
}

#[tokio::test]
async fn three_planes_with_restarts_are_whole_and_any_damage_is_named_postgres() {
    let size = size();
    let postgres = Postgres::start().await;
    let fleet = grown(Setup::example().postgres(&postgres.url()), &size).await;
    println!("{}", a_long_trail_is_walked(fleet, Store::Postgres(postgres.url()), &size).await);
}

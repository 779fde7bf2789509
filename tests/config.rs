//! The file: all mistakes at once, nothing lost by a broken one, reloads that no call feels, a start without the control
//! plane.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sentinel_tests::harness::ctl::Ctl;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{Start, program};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

const FIVE_MISTAKES: &str = "[auth]\nmode = \"open\"\n\n[roles.operator]\nallow = \"*\"\n\n[gateway]\nlisten = \"nowhere\"\nspeed = 9\n\n\
    [[backends]]\nname = \"x\"\ntype = \"http\"\n";

#[tokio::test]
async fn five_mistakes_are_five_problems_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, FIVE_MISTAKES).unwrap();
    let start = Start {
        name: "check".into(),
        program: program("sentinel-controlplane"),
        args: vec!["check".into(), file.display().to_string()],
        env: Default::default(),
        folder: folder.path().to_owned(),
    };

    let output = start.command().output().unwrap();

    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let places: Vec<u32> =
        said.lines().filter_map(|line| line.split_once("bad.toml:")?.1.split(':').next()?.parse().ok()).collect();
    for line in [2, 5, 8, 9] {
        assert!(places.contains(&line), "no problem in line {line}: {said}");
    }
    assert!(places.iter().any(|line| (11..=13).contains(line)), "no problem of the backend: {said}");
    assert_eq!(places.len(), 5, "{said}");
}

#[tokio::test]
async fn a_broken_file_never_replaces_a_good_one() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let before = fleet.ctl("status --output json").await.json()["revision"].clone();

    std::fs::write(fleet.file(), FIVE_MISTAKES).unwrap();
    let refused = fleet.ctl("reload").await;

    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_eq!(fleet.ctl("status --output json").await.json()["revision"], before);
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    fleet.kill_and_restart_control_plane().await;
    let ready =
        until("the control plane answers with what is wrong", async || match fleet.control_plane_ready().await {
            Err(said) if said.starts_with("503") => Ok(said),
            other => Err(other),
        })
        .await;
    assert!(ready.contains("config"), "{ready}");
    fleet.until_connected().await;
    assert_eq!(client.call("example__echo", json!({ "text": "y" })).await.content(), "y");
    assert_eq!(fleet.ctl("status --output json").await.json()["revision"], before);
}

#[tokio::test]
async fn a_control_plane_with_nothing_but_a_broken_file_ends_with_2() {
    let fleet = Fleet::start_without_waiting(Setup::example().planes(0).auth(""));
    let mut fleet = fleet;

    let status = fleet.control_plane.wait().await;

    assert_eq!(status.code(), Some(2), "{}", fleet.control_plane.log());
    assert!(fleet.control_plane.log().contains("sentinel.toml:"), "{}", fleet.control_plane.log());
}

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_call_and_touch_no_unchanged_backend() {
    let fleet = Fleet::start(Setup::example().backend("other")).await;
    let pids = (fleet.received("example").pids(), fleet.received("other").pids());
    let client = fleet.client("claude", "operator").await;
    let (ended, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = async {
        while !ended.load(Ordering::Relaxed) {
            let both = futures_util::future::join(
                client.call("example__echo", json!({ "text": "x" })),
                client.call("other__add", json!({ "a": 1, "b": 1 })),
            )
            .await;
            assert_eq!((both.0.content(), both.1.content()), ("x", "2"));
            calls.fetch_add(2, Ordering::Relaxed);
        }
    };
    let reloads = async {
        for number in 0..100 {
            fleet.write(
                &Setup::example().backend("other").toml(&format!("[gateway]\ndrain_secs = {}", 20 + number % 7)),
            );
            let _reloaded = fleet.ctl("reload").await.exits(0);
        }
        ended.store(true, Ordering::Relaxed);
    };

    tokio::join!(load, reloads);

    assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?} calls are no load");
    assert_eq!((fleet.received("example").pids(), fleet.received("other").pids()), pids);
}

#[tokio::test]
async fn a_reload_keeps_the_counts_of_unchanged_limits() {
    let limits = "[rate_limit]\ndefault = { requests = 60, per_secs = 3600, burst = 2 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let client = fleet.client("claude", "operator").await;
    for _ in 0..2 {
        assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    }

    fleet.write(&Setup::example().limits(limits).toml("[gateway]\ndrain_secs = 21"));
    let _reloaded = fleet.ctl("reload").await.exits(0);

    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("rate_limited", -31429);
}

#[tokio::test]
async fn a_plane_starts_from_its_last_known_good_without_a_control_plane() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;

    assert_eq!(client.call_once_known("example__echo", json!({ "text": "y" })).await.content(), "y");
    assert_eq!(fleet.planes[0].ready().await.unwrap()["source"], "last_known_good");
}

#[tokio::test]
async fn a_rollback_brings_the_old_content_back_as_a_new_revision() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let first = fleet.ctl("status --output json").await.json()["revision"].as_u64().unwrap();
    fleet.write(&Setup::example().roles("[roles.operator]\nallow = [\"*__add\"]\n"));
    let _reloaded = fleet.ctl("reload").await.exits(0);
    assert_eq!(client.tools().await, ["example__add"]);

    let _back = fleet.ctl(&format!("config rollback {first}")).await.exits(0);

    assert!(client.tools().await.len() > 5);
    let history = fleet.ctl("config history --output json").await.json();
    assert_eq!(history.as_array().unwrap().len(), 3, "{history}");
}

#[tokio::test]
async fn a_backend_that_the_plane_cannot_build_refuses_the_reload_and_is_named() {
    let fleet = Fleet::start(Setup::example()).await;
    let missing = "[[backends]]\nname = \"needy\"\ncommand = \"sh\"\nenv = { X = \"${SENTINEL_TEST_NOT_THERE}\" }\n";

    fleet.write(&Setup::example().toml(missing));
    let refused = fleet.ctl("reload").await;
    let degraded = fleet.ctl("reload --allow-degraded").await;

    assert_eq!(refused.code, Some(4), "{refused:?}");
    let _named = refused.says("needy").says("SENTINEL_TEST_NOT_THERE");
    let _off = degraded.exits(0).says("needy");
}

#[tokio::test]
async fn a_backend_at_a_metadata_address_refuses_the_reload_unless_the_file_allows_the_address() {
    let fleet = Fleet::start(Setup::example()).await;
    let metadata = "[[backends]]\nname = \"cloud\"\nurl = \"http://169.254.169.254/mcp\"\n";

    fleet.write(&Setup::example().toml(metadata));
    let refused = fleet.ctl("reload").await;
    fleet.write(&Setup::example().toml(&format!("{metadata}allowed_addresses = [\"169.254.169.254\"]\n")));
    let allowed = fleet.ctl("reload").await;

    assert_eq!(refused.code, Some(4), "{refused:?}");
    let _named = refused.says("cloud").says("169.254.169.254").says("allowed_addresses");
    let _taken = allowed.exits(0);
}

#[tokio::test]
async fn sighup_reloads_as_the_command_does() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    fleet.write(&Setup::example().roles("[roles.operator]\nallow = [\"*__add\"]\n"));
    fleet.control_plane.signal(nix::sys::signal::Signal::SIGHUP);

    until("the new roles are in force", async || {
        let tools = client.tools().await;
        if tools == ["example__add"] { Ok(()) } else { Err(tools) }
    })
    .await;
}

#[tokio::test]
async fn without_a_control_plane_sentinelctl_exits_with_3_and_names_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();

    let ran = Ctl::of(folder.path().join("nothing"), folder.path()).run("status").await;

    assert_eq!(ran.code, Some(3), "{ran:?}");
    let _named = ran.says("nothing");
}

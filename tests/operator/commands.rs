//! `tool show`, `plane forget`, `completion` and `status --watch` against real daemons.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::program;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn tool_show_tells_definition_limits_roles_and_what_stops_it() {
    let limits = "[rate_limit]\ndefault = { requests = 9, per_secs = 60, burst = 3 }\n\
        [rate_limit.tools]\n\"example__e*\" = { requests = 7, per_secs = 30, burst = 5 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let shown = fleet.ctl("tool show example__echo --output json").await.json();
    assert_eq!(
        (&shown["backend"], &shown["own"], &shown["killed"]),
        (&json!("example"), &json!("echo"), &json!(false))
    );
    assert_eq!(shown["definition"]["name"], "example__echo");
    assert_eq!(shown["definition"]["inputSchema"]["type"], "object");
    assert_eq!(shown["roles"], json!(["analyst", "operator"]));
    assert_eq!(shown["limit"], json!({ "requests": 7, "per_secs": 30, "burst": 5 }));
    assert_eq!(shown["limit_from"], "example__e*");

    let _killed = fleet.ctl("kill-switch backend example --reason leaks").await.exits(0);
    let shown = fleet.ctl("tool show example__echo").await.exits(0).says("killed").says("leaks").says("ARGUMENTS");
    assert!(shown.stdout.contains("\"type\": \"object\"") && shown.stdout.contains("7 in 30 s"), "{shown:?}");
    let _unknown = fleet.ctl("tool show example__ecko").await.exits(2).says("did you mean example__echo");
}

#[tokio::test]
async fn tool_show_tells_how_its_calls_of_the_last_hour_ended() {
    let fleet = Fleet::start(Setup::example()).await;
    let fresh = fleet.ctl("tool show example__add").await.exits(0).says("no calls");
    assert!(fresh.stdout.contains("last hour"), "{fresh:?}");
    let (operator, analyst) = (fleet.client("op", "operator").await, fleet.client("ana", "analyst").await);
    let calls = [
        operator.call("example__add", json!({ "a": 1, "b": 2 })).await,
        operator.call("example__add", json!({ "a": 3, "b": 4 })).await,
        analyst.call("example__add", json!({ "a": 5000, "b": 4 })).await,
    ];
    for call in &calls {
        let _rows = fleet.audit_rows(&call.request_id()).await;
    }

    let shown = fleet.ctl("tool show example__add --output json").await.json();

    let recent = &shown["recent"];
    assert_eq!((&recent["count"], &recent["statuses"]), (&json!(3), &json!({ "denied": 1, "ok": 2 })), "{shown}");
    assert!(recent["p50_us"].as_u64() > Some(0) && recent["p95_us"].as_u64() >= recent["p50_us"].as_u64(), "{shown}");
    let told = fleet.ctl("tool show example__add").await.exits(0);
    let _told = told.says("3 calls, errors 0, denied 1 (33.3 %), p50 ");
}

#[tokio::test]
async fn a_plane_is_forgotten_only_when_it_is_away_and_then_it_is_new() {
    let mut fleet = Fleet::start(Setup::one_plane().planes(2)).await;
    let _here = fleet.ctl("plane forget plane-1").await.exits(4).says("is connected");
    let _unknown = fleet.ctl("plane forget plane-7").await.exits(2).says("no plane is known as plane-7");
    fleet.planes[1].process.kill().await;
    until("the plane is lost", async || {
        let listed = fleet.ctl("plane list --output json").await;
        if listed.stdout.contains("\"lost\"") { Ok(()) } else { Err(listed) }
    })
    .await;
    // Its secret is lost: a new one under the old id is refused until the plane is forgotten.
    std::fs::write(fleet.planes[1].data_dir().join("plane/secret"), [7; 32]).unwrap();
    fleet.planes[1].process.restart().await;
    until("the wrong secret is refused", async || {
        let log = fleet.planes[1].process.log();
        if log.contains("another secret") { Ok(()) } else { Err(log) }
    })
    .await;
    let forgotten = fleet.ctl("plane forget plane-1 --output json").await.json();
    assert_eq!(forgotten["name"], "plane-1");
    fleet.until_connected().await;
    fleet.kill_and_restart_control_plane().await;
    fleet.until_connected().await;
    fleet.planes[1].process.signal(Signal::SIGTERM);
}

#[tokio::test]
async fn each_shell_gets_a_script_that_it_can_read() {
    let fleet = Fleet::start_without_waiting(Setup::one_plane());
    for shell in ["bash", "zsh", "fish"] {
        let ran = fleet.ctl(&format!("completion {shell}")).await.exits(0).says("kill-switch").says("sentinelctl");
        let script = fleet.folder().join(format!("completion.{shell}"));
        std::fs::write(&script, &ran.stdout).unwrap();
        // Shells that are not installed here are not asked.
        if let Ok(read) = std::process::Command::new(shell).arg("-n").arg(&script).output() {
            assert!(read.status.success(), "{shell}: {read:?}");
        }
        let value = fleet.ctl(&format!("completion {shell} --output json")).await.json();
        assert_eq!(value["script"].as_str().unwrap().trim_end(), ran.stdout.trim_end());
    }
    let _other = fleet.ctl("completion tcsh").await.exits(2);
}

#[tokio::test]
async fn status_is_watched_and_ends_quietly_with_its_reader() {
    let mut fleet = Fleet::start(Setup::one_plane()).await;
    let mut watching = std::process::Command::new(program("sentinelctl"))
        .args(["status", "--watch", "--interval", "1", "--output", "json", "--data-dir"])
        .arg(fleet.folder().join("control"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let state: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(state["planes"][0]["state"], "connected");
    }
    // A control plane that is away for a while is waited for.
    fleet.kill_and_restart_control_plane().await;
    let state: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(state["revision"].is_u64());
    drop(lines);
    let ended = tokio::task::spawn_blocking(move || watching.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let blocks = fleet.ctl("status --watch --interval 0").await.exits(2);
    assert!(blocks.stderr.contains("--interval"), "{blocks:?}");
}

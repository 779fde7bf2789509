//! `sentinelctl up`: both daemons in one go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::ctl::Ctl;
use sentinel_tests::harness::port::Port;
use sentinel_tests::harness::process::{Process, Start, descendants, is_alive, program};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until, until_within};
use serde_json::json;

struct Up {
    process: Process,
    ports: [Port; 3],
    folder: tempfile::TempDir,
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sentinel-u-").tempdir_in("/tmp").unwrap();
    std::fs::write(folder.path().join("sentinel.toml"), Setup::example().text(folder.path())).unwrap();
    folder
}

fn start(name: &str, folder: &Path, data_dir: &str, ports: &[Port; 3]) -> Process {
    let [listen, ops, control_ops] = ports.each_ref().map(Port::address);
    let words = ["up", "--data-dir", data_dir, "--listen", &listen, "--ops-listen", &ops];
    let mut args: Vec<String> = words.map(str::to_owned).to_vec();
    args.extend(["--controlplane-ops-listen".to_owned(), control_ops]);
    let program = program("sentinelctl");
    Start { name: name.into(), program, args, env: BTreeMap::new(), folder: folder.to_owned() }.run()
}

async fn up() -> Up {
    let (folder, ports) = (folder(), [Port::free(), Port::free(), Port::free()]);
    let process = start("up", folder.path(), "data", &ports);
    let up = Up { process, ports, folder };
    until("it says what to do next", async || {
        let out = up.process.out();
        if out.contains("Ctrl-C ends everything.") { Ok(()) } else { Err(out + &up.process.log()) }
    })
    .await;
    up
}

#[tokio::test]
async fn from_up_to_a_governed_call_a_kill_and_its_audit_row() {
    let up = up().await;
    let out = up.process.out();
    let token = out.split(|c: char| c.is_whitespace() || "\"'=".contains(c)).find(|word| word.starts_with("eyJ"));
    let token = token.unwrap_or_else(|| panic!("no token: {out}"));
    for told in ["claude mcp add", "curl", "kill-switch"] {
        assert!(out.contains(told), "{told} is not in {out}");
    }
    let client = Client::connected(&format!("http://{}/mcp", up.ports[0].address()), token).await;
    let ctl = Ctl::of(up.folder.path().join("data"), up.folder.path());

    let reply = client.call("example__echo", json!({ "text": "hello" })).await;
    let killed = ctl.run("kill-switch tool example__echo --reason enough").await.exits(0);
    let refused = client.call("example__echo", json!({ "text": "hello" })).await;

    assert_eq!(reply.content(), "hello");
    let _ran = killed.says("acknowledged by 1 of 1 planes");
    let _id = refused.is_refused("disabled", -31423);
    for (reply, status) in [(&reply, "ok"), (&refused, "denied")] {
        let id = reply.request_id();
        let row = until("it is in the audit", async || {
            let listed = ctl.run(&format!("audit list --request-id {id} --output json")).await;
            let rows: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).unwrap_or_default();
            rows.first().cloned().ok_or(listed)
        })
        .await;
        assert_eq!((&row["status"], &row["tool"]), (&json!(status), &json!("example__echo")));
    }
}

#[tokio::test]
async fn ctrl_c_leaves_no_process_and_no_pointer() {
    let mut up = up().await;
    let family = descendants(up.process.pid());
    assert!(family.len() >= 3, "both daemons and a backend: {family:?}");

    up.process.signal(Signal::SIGINT);
    let status = up.process.wait().await;

    assert_eq!(status.code(), Some(0), "{}", up.process.log());
    until_within(Duration::from_secs(30), "none is left", async || {
        let left: Vec<u32> = family.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert!(!up.folder.path().join("sentinel.json").exists());
    assert!(!up.folder.path().join("data/controlplane/up.json").exists());
}

#[tokio::test]
async fn a_second_up_and_a_busy_port_are_one_plain_sentence_each() {
    let mut up = up().await;
    let free = [Port::free(), Port::free(), Port::free()];

    let mut second = start("second", up.folder.path(), "data", &free);
    assert_eq!(second.wait().await.code(), Some(1));
    let mut busy = start("busy", up.folder.path(), "other", &up.ports);
    assert_eq!(busy.wait().await.code(), Some(1));

    for (process, told) in [(&second, "already runs on"), (&busy, "is in use by another program")] {
        let said = process.log();
        assert!(said.contains(told) && said.trim().lines().count() == 1, "{said}");
        assert!(!said.contains("panicked") && !said.contains("Error {"), "{said}");
    }
    assert!(up.process.is_running());
}

#[tokio::test]
async fn a_daemon_that_dies_is_started_again() {
    let up = up().await;
    let named = |name: &str| {
        let is = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.ends_with(name));
        descendants(up.process.pid()).into_iter().find(is)
    };
    for name in ["sentinel-controlplane", "sentinel-dataplane"] {
        let old = named(name).unwrap_or_else(|| panic!("no {name}"));
        nix::sys::signal::kill(sentinel_tests::harness::process::pid_of(old), Signal::SIGKILL).unwrap();
        until("another is there", async || holds(named(name).is_some_and(|new| new != old))).await;
    }
    let url = format!("http://{}/ready", up.ports[1].address());
    until("the plane is ready", async || match reqwest::get(&url).await {
        Ok(response) if response.status() == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_file_with_mistakes_ends_it_with_2_and_names_each_place() {
    let (folder, ports) = (folder(), [Port::free(), Port::free(), Port::free()]);
    std::fs::write(folder.path().join("sentinel.toml"), "[auth]\n[gateway]\nlistem = 1\n[roles.a]\nalow = []\n")
        .unwrap();

    let mut process = start("up", folder.path(), "data", &ports);
    let status = process.wait().await;

    let said = process.log() + &process.out();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("sentinel.toml:3:") && said.contains("sentinel.toml:5:"), "{said}");
}

//! `config import` and `up --import`: a client's servers behind the gateway, their secrets out of sight.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sentinel_tests::harness::ctl::Ctl;
use sentinel_tests::harness::port::Port;
use sentinel_tests::harness::process::{Process, Start, program};
use sentinel_tests::harness::setup::http_example;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sentinel-i-").tempdir_in("/tmp").unwrap()
}

/// Seven servers as people keep them: secrets in `env`, arguments, headers and the URL.
fn seven(http: &str) -> Value {
    let server = program("sentinel-example-server");
    json!({ "mcpServers": {
        "github": { "command": server, "env": { "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_TopSecret0123456789" } },
        "context7": { "command": server, "args": [], "env": { "CONTEXT7_API_KEY": "ctx7sk-TopSecret-1" } },
        "Brave Search": { "type": "stdio", "command": server, "env": { "BRAVE_API_KEY": "BSATopSecret" }, "timeout": 60000 },
        "files": { "command": server, "args": ["--log", "/dev/null"] },
        "n8n": { "command": server, "env": { "N8N_API_URL": "http://127.0.0.1:5678", "N8N_API_KEY": "eyJTopSecret.n8n.key" } },
        "remote": { "type": "http", "url": http, "headers": { "Authorization": "Bearer TopSecretBearer", "X-Mode": "full" } },
        "exa": { "type": "http", "url": format!("{http}?exaApiKey=TopSecretExa") },
    } })
}

fn up(folder: &Path, ports: &[Port; 3]) -> Process {
    let [listen, ops, control_ops] = ports.each_ref().map(Port::address);
    let words = ["up", "--import", "mcp.json", "--data-dir", "data", "--listen", &listen, "--ops-listen", &ops];
    let mut args: Vec<String> = words.map(str::to_owned).to_vec();
    args.extend(["--controlplane-ops-listen".to_owned(), control_ops]);
    let program = program("sentinelctl");
    Start { name: "up".into(), program, args, env: BTreeMap::new(), folder: folder.to_owned() }.run()
}

#[tokio::test]
async fn seven_servers_of_a_client_are_listed_and_no_secret_is_in_the_configuration() {
    let (folder, http) = (folder(), http_example(false));
    std::fs::write(folder.path().join("mcp.json"), seven(&http.url).to_string()).unwrap();
    let ports = [Port::free(), Port::free(), Port::free()];

    let process = up(folder.path(), &ports);

    let ctl = Ctl::of(folder.path().join("data"), folder.path());
    until("all are listed", async || {
        let listed = ctl.run("tool list --output json").await;
        let all = ["github", "context7", "Brave-Search", "files", "n8n", "remote", "exa"];
        let there = all.iter().all(|name| listed.stdout.contains(&format!("\"{name}__echo\"")));
        if there { Ok(()) } else { Err(format!("{listed:?} {}", process.log())) }
    })
    .await;
    let toml = std::fs::read_to_string(folder.path().join("sentinel.toml")).unwrap();
    assert!(!toml.contains("TopSecret"), "{toml}");
    assert!(toml.contains("Bearer ${REMOTE_TOKEN}") && toml.contains("exaApiKey=${EXA_EXAAPIKEY}"), "{toml}");
    let env = folder.path().join("sentinel.env");
    assert_eq!(std::fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&env).unwrap().matches("TopSecret").count(), 6);
    let said = process.log();
    assert!(said.contains("Brave Search: is called Brave-Search here"), "{said}");
    assert!(said.contains("Brave Search.timeout: not carried over; write timeout_secs"), "{said}");
    let received = http.received();
    assert!(!said.contains("TopSecret") && !process.out().contains("TopSecret"), "{said}");
    drop(received);
}

#[tokio::test]
async fn a_second_import_adds_to_what_is_there_and_says_how_to_undo_it() {
    let folder = folder();
    let server = program("sentinel-example-server");
    let list =
        |env: &str| json!({ "servers": { "one": { "command": server, "env": { "ONE_TOKEN": env } } } }).to_string();
    std::fs::write(folder.path().join("a.json"), list("first")).unwrap();
    std::fs::write(folder.path().join("b.json"), list("second")).unwrap();
    let ctl = Ctl::of(folder.path().join("data"), folder.path());

    let _made = ctl.run("config import a.json").await.exits(0).says("taken over");
    let before = std::fs::read_to_string(folder.path().join("sentinel.toml")).unwrap();
    let _refused = ctl.run("config import b.json").await.exits(2).says("--append");
    let shown = ctl.run("config import b.json --append --dry-run --output json").await.json();
    assert_eq!(std::fs::read_to_string(folder.path().join("sentinel.toml")).unwrap(), before);
    let told = ctl.run("config import b.json --append --output json").await.json();

    assert_eq!((&shown["written"], &told["written"]), (&json!(false), &json!(true)));
    assert_eq!(told["backends"][0]["name"], "one-2");
    assert_eq!(told["variables"], json!(["ONE_2_ONE_TOKEN"]));
    let checked = ctl.run("config import b.json --append").await.exits(0);
    let _said = checked.says("one-3").says("undo:   cp sentinel.toml.before-import-");
    let undo = told["undo"][0].as_str().unwrap();
    let undone = std::process::Command::new("sh").args(["-c", undo]).current_dir(folder.path()).status().unwrap();
    assert!(undone.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("sentinel.toml")).unwrap(), before);
}

#[tokio::test]
async fn broken_and_hostile_files_are_named_by_line_and_column_and_nothing_is_written() {
    let folder = folder();
    let ctl = Ctl::of(folder.path().join("data"), folder.path());
    for (text, told) in [
        ("{\n \"mcpServers\": {\n", "bad.json:2:16: an object that never ends"),
        ("{\"mcpServers\": {\"a\": {\"command\": 7}}}", "bad.json:1:34: a.command: a text is wanted, not a number"),
        (&format!("{{\"mcpServers\": {}}}", "[".repeat(5000)), "nested deeper than 100 levels"),
        ("\u{0}\u{1b}[2J", "bad.json:1:1: a value is wanted"),
        ("", "bad.json:1:1: a value is wanted, not the end of the file"),
    ] {
        std::fs::write(folder.path().join("bad.json"), text).unwrap();
        let ran = ctl.run("config import bad.json").await.exits(2).says(told);
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        assert!(!folder.path().join("sentinel.toml").exists());
    }
}

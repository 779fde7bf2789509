//! One call of every kind of the errors table, explained after the fact: where it ended, by which line of the file, and
//! what the client was told.

use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{Setup, http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.analyst]\nallow = [\n  \"*__echo\",\n  \"*__add\",\n]\ndeny = [\"example__env\"]\n\
    [[roles.analyst.rules]]\ntool = \"*__add\"\narguments = { properties = { a = { maximum = 10 } } }\n";
const LIMITS: &str = "[rate_limit]\ndefault = { requests = 1000, per_secs = 1 }\n\
    per_client = { requests = 1000, per_secs = 1 }\n\
    [rate_limit.tools]\n\"example__counter\" = { requests = 1, per_secs = 86400 }\n";

/// What is expected of one call.
struct Case {
    kind: &'static str,
    stage: &'static str,
    /// A piece of the line that decided, where one did.
    line: &'static str,
    reply: Reply,
}

fn case(kind: &'static str, stage: &'static str, line: &'static str, reply: Reply) -> Case {
    Case { kind, stage, line, reply }
}

async fn explained(fleet: &Fleet, id: &str) -> Value {
    let _row = fleet.audit_rows(id).await;
    fleet.ctl(&format!("explain {id} --output json")).await.json()
}

/// The text of the file's line that a rule is said to stand on; empty: it has none.
fn line_of(fleet: &Fleet, rule: &Value) -> String {
    let text = std::fs::read_to_string(fleet.file()).unwrap();
    let Some(number) = rule["line"].as_u64() else { return String::new() };
    assert_eq!(rule["file"], "sentinel.toml", "{rule}");
    text.lines().nth(usize::try_from(number).unwrap() - 1).unwrap().to_owned()
}

async fn check(fleet: &Fleet, case: &Case) {
    let Case { kind, stage, line, reply } = case;
    let told = explained(fleet, &reply.request_id()).await;
    assert_eq!(told["call"]["kind"], *kind, "{told}");
    let error = &reply.message["error"];
    let same = json!({ "code": error["code"], "message": error["message"], "data": error["data"] });
    assert_eq!(told["error"], same, "the client's own error: {told}");
    let stages = told["stages"].as_array().unwrap();
    let Some(end) = stages.iter().position(|one| one["stage"] == *stage) else {
        assert_eq!((*stage, stages.len()), ("", 0), "{told}");
        return;
    };
    let verdicts: Vec<&str> = stages.iter().map(|one| one["verdict"].as_str().unwrap()).collect();
    assert!(verdicts[..end].iter().all(|verdict| *verdict == "passed"), "{told}");
    assert!(["refused", "failed", "ended"].contains(&verdicts[end]), "{told}");
    assert!(verdicts[end + 1..].iter().all(|verdict| *verdict == "not_reached"), "{told}");
    assert!(!stages[end]["why"].as_str().unwrap().is_empty(), "{told}");
    let rules = stages[end]["rules"].as_array().unwrap();
    let lines: Vec<String> = rules.iter().map(|rule| line_of(fleet, rule)).collect();
    assert!(line.is_empty() || lines.iter().any(|written| written.contains(line)), "{line} in {lines:?}: {told}");
}

#[tokio::test]
async fn what_the_policy_refuses_is_told_with_the_line_that_does() {
    let fleet =
        Fleet::start(Setup::example().roles(ROLES).limits(LIMITS).toml("[kill_switch]\ntools = [\"example__fail\"]"))
            .await;
    let (operator, analyst) = (fleet.client("op", "operator").await, fleet.client("an", "analyst").await);
    let _first = operator.call("example__counter", json!({})).await;

    let mut cases = vec![
        case("unknown_tool", "visible", "", operator.call("example__no\u{1b}[31m", json!({})).await),
        case("hidden_tool", "visible", "", analyst.call("example__counter", json!({})).await),
        case("hidden_tool", "visible", "deny = [\"example__env\"]", analyst.call("example__env", json!({})).await),
        case("unknown_prompt", "visible", "", operator.request("prompts/get", json!({ "name": "x" })).await),
        case("unknown_resource", "visible", "", operator.request("resources/read", json!({ "uri": "x:y" })).await),
        case("invalid_arguments", "arguments", "", operator.call("example__add", json!({ "a": "x", "b": 1 })).await),
        case(
            "forbidden",
            "rules",
            "[[roles.analyst.rules]]",
            analyst.call("example__add", json!({ "a": 11, "b": 1 })).await,
        ),
        case(
            "rate_limited",
            "target_limits",
            "\"example__counter\" =",
            operator.call("example__counter", json!({})).await,
        ),
        case(
            "disabled",
            "target_kills",
            "tools = [\"example__fail\"]",
            operator.call("example__fail", json!({ "message": "x" })).await,
        ),
    ];
    let _thrown = fleet.ctl("kill-switch client an --reason leaks").await.exits(0);
    cases.push(case("disabled", "caller_kills", "", analyst.call("example__echo", json!({ "text": "x" })).await));
    for case in &cases {
        check(&fleet, case).await;
    }

    let thrown = explained(&fleet, &cases.last().unwrap().reply.request_id()).await;
    let why = thrown["stages"][1]["why"].as_str().unwrap();
    assert!(why.contains("client an") && why.contains("leaks") && why.contains("thrown by"), "{thrown}");
    let shown = fleet.ctl(&format!("explain {}", cases[0].reply.request_id())).await.exits(0);
    assert!(!shown.stdout.contains('\u{1b}') && shown.stdout.contains("example__no\\u{1b}"), "{shown:?}");
}

#[tokio::test]
async fn what_backends_do_is_told_with_times_and_attempts() {
    let server = http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let setup = Setup::one_plane().backend_with("example", "timeouts = { slow = 1 }").toml(&web).roles(ROLES);
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("op", "operator").await;

    let good = client.call("example__echo", json!({ "text": "x" })).await;
    let own = client.call("example__fail", json!({ "message": "x" })).await;
    let mut cases = vec![
        case("timeout", "dispatch", "[[backends]]", client.call("example__slow", json!({ "ms": 60_000 })).await),
        case("backend_error", "dispatch", "[[backends]]", client.call("example__crash", json!({})).await),
    ];
    drop(server);
    until("the backend is known to be away", async || {
        let reply = client.call("web__echo", json!({ "text": "x" })).await;
        if reply.data()["kind"] == "backend_unavailable" { Ok(()) } else { Err(reply) }
    })
    .await;
    cases.push(case(
        "backend_unavailable",
        "dispatch",
        "[[backends]]",
        client.call("web__echo", json!({ "text": "x" })).await,
    ));
    for case in &cases {
        check(&fleet, case).await;
    }

    let told = explained(&fleet, &good.request_id()).await;
    let stages = told["stages"].as_array().unwrap();
    assert!(stages.len() == 10 && stages.iter().all(|one| one["verdict"] == "passed"), "{told}");
    assert_eq!((&told["outcome"], &told["error"]), (&json!("answered by backend example"), &Value::Null));
    assert_eq!(line_of(&fleet, &stages[3]["rules"][0]), "allow = [\"*\"]", "{told}");
    assert!(stages[9]["why"].as_str().unwrap().contains(" ms from there to the end"), "{told}");
    let told = explained(&fleet, &own.request_id()).await;
    assert!(told["outcome"].as_str().unwrap().contains("an error of its own"), "{told}");
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_call_has_its_words_and_no_stages() {
    let fleet = Fleet::start(Setup::example().toml("[gateway]\nmax_request_bytes = \"64KiB\"")).await;
    let client = fleet.client("op", "operator").await;
    let modern = fleet.modern_client("op", "operator").await;
    let mut lost = Client::new(&fleet.planes[0].url(), &client.token);
    lost.session = Some("none of ours".into());
    let sessionless = Client::new(&fleet.planes[0].url(), &client.token);
    let call = modern.message("tools/call", json!({ "name": "example__echo", "arguments": { "text": "x" } }));
    let mut unmarked = call.clone();
    unmarked["params"]["_meta"].as_object_mut().unwrap().remove("io.modelcontextprotocol/clientCapabilities");
    let mut unspoken = call.clone();
    unspoken["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");

    for (kind, reply) in [
        ("method_not_found", client.request("no/such", json!({})).await),
        ("invalid_params", client.request("tools/call", json!({})).await),
        ("invalid_request", sessionless.request("tools/list", json!({})).await),
        ("parse", client.send("{\"jsonrpc\":").await),
        ("session_not_found", lost.request("tools/list", json!({})).await),
        ("too_large", client.call("example__echo", json!({ "text": "x".repeat(70_000) })).await),
        ("header_mismatch", modern.send_with(&call, &[("mcp-name", "other")]).await),
        ("invalid_meta", modern.send(&unmarked).await),
        ("unsupported_version", modern.send(&unspoken).await),
    ] {
        check(&fleet, &case(kind, "", "", reply)).await;
    }
}

#[tokio::test]
async fn what_a_full_plane_refuses_and_what_is_taken_back_or_cut_is_told() {
    let fleet = Fleet::start(Setup::example().roles(ROLES).toml("[gateway]\nmax_in_flight = 2")).await;
    let client = fleet.client("op", "operator").await;
    let slow = json!({ "name": "example__slow", "arguments": { "ms": 60_000 } });
    let (one, two) = (client.message("tools/call", &slow), client.message("tools/call", &slow));
    let id = serde_json::from_str::<Value>(&one).unwrap()["id"].clone();
    let both = async { tokio::join!(client.send(&one), client.send(&two)) };
    let meanwhile = async {
        until("both are at the backend", async || holds(fleet.received("example").calls("slow").len() == 2)).await;
        let refused = client.call("example__echo", json!({ "text": "x" })).await;
        let _taken = client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        until("it is taken back", async || holds(fleet.received("example").count("cancelled") == 1)).await;
        let _cut = fleet.ctl("kill-switch tool example__slow --reason enough").await.exits(0);
        refused
    };

    let ((cancelled, cut), refused) = tokio::join!(both, meanwhile);

    check(&fleet, &case("overloaded", "client_limits", "max_in_flight = 2", refused)).await;
    check(&fleet, &case("disabled", "dispatch", "", cut.clone())).await;
    let told = explained(&fleet, &cut.request_id()).await;
    assert!(
        told["outcome"].as_str().unwrap().starts_with("cut by a kill switch; the backend may have run it"),
        "{told}"
    );
    let told = explained(&fleet, &cancelled.request_id()).await;
    assert_eq!((&told["call"]["status"], &told["error"]), (&json!("cancelled"), &Value::Null), "{told}");
    assert_eq!(told["stages"][9]["verdict"], "ended", "{told}");
}

/// A file system without room over a folder of a running program, whose open files stay where they are.
struct Full(std::path::PathBuf);

impl Full {
    /// None: only root may mount.
    fn over(folder: std::path::PathBuf) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&folder);
        mount.status().is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[tokio::test]
async fn what_the_plane_itself_can_not_do_is_told() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("op", "operator").await;
    let state = fleet.planes[0].data_dir().join("plane");

    std::fs::create_dir(state.join("sessions.ended")).unwrap();
    check(&fleet, &case("internal", "", "", client.end().await)).await;

    let Some(full) = Full::over(state.join("spool")) else {
        println!("not run as root: a full disk was not made, and `audit_unavailable` not provoked");
        return;
    };
    let refused = until("the plane finds its disk full", async || {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        if reply.data()["kind"] == "audit_unavailable" { Ok(reply) } else { Err(reply) }
    })
    .await;
    let asked = fleet.ctl("explain --client op --role operator --tool example__counter --output json").await.json();
    let plane = &asked["planes"][0];
    assert_eq!((&plane["kind"], &plane["error"]["code"]), (&json!("audit_unavailable"), &json!(-31507)), "{asked}");
    let _id = refused.is_refused("audit_unavailable", -31507);
    drop(full);
    until("calls pass again", async || {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        if reply.data().is_null() { Ok(()) } else { Err(reply) }
    })
    .await;
    // What had no room for a row of its own is counted, and written by the latest at the end.
    fleet.planes[0].process.signal(Signal::SIGTERM);
    until("the refusal is counted", async || {
        let rows = fleet.ctl("audit list --client op --status denied --output json").await.json();
        let is_counted = |row: &Value| row["kind"] == "audit_unavailable" && row["method"] == "refusals";
        if rows.as_array().unwrap().iter().any(is_counted) { Ok(()) } else { Err(rows) }
    })
    .await;
}

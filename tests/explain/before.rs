//! Before the fact: told by the code that decides, and without a trace.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

async fn asked(fleet: &Fleet, line: &[&str]) -> Value {
    let words = [&["explain", "--output", "json"], line].concat();
    fleet.controller().run_args(&words, &[]).await.json()
}

#[tokio::test]
async fn what_is_asked_leaves_no_row_takes_no_token_and_reaches_no_backend() {
    let limits =
        "[rate_limit]\ndefault = { requests = 1, per_secs = 86400 }\nper_client = { requests = 2, per_secs = 86400 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let line = ["--client", "op", "--role", "operator", "--tool", "example__counter", "--arguments", "{}"];

    for _ in 0..5 {
        let told = asked(&fleet, &line).await;
        assert_eq!(told["planes"][0]["would"], "pass", "{told}");
    }
    assert_eq!(fleet.received("example").count("call"), 0);
    let client = fleet.modern_client("op", "operator").await;
    assert_eq!(client.call("example__counter", json!({})).await.content(), "1");
    let told = asked(&fleet, &line).await;

    let plane = &told["planes"][0];
    assert_eq!((&plane["would"], &plane["kind"]), (&json!("refuse"), &json!("rate_limited")), "{told}");
    assert_eq!((&plane["error"]["code"], &plane["error"]["data"]["limit"]), (&json!(-31429), &json!("tool")), "{told}");
    assert_eq!(plane["error"]["data"].get("requestId"), None);
    assert_eq!(plane["stages"][5]["rules"][0]["rule"], "rate_limit.default", "{told}");
    assert!(plane["stages"][5]["rules"][0]["line"].is_u64(), "{told}");
    let refused = client.call("example__counter", json!({})).await;
    let _id = refused.is_refused("rate_limited", -31429);
    let _row = fleet.audit_rows(&refused.request_id()).await;
    let rows = fleet.ctl("audit list --client op --output json").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
}

#[tokio::test]
async fn roles_are_those_of_the_last_call_unless_they_are_given_and_else_they_are_asked_for() {
    let fleet = Fleet::start(Setup::example()).await;
    let tool = ["--tool", "example__counter", "--client", "reader"];

    let ran = fleet.controller().run_args(&[&["explain"], &tool[..]].concat(), &[]).await;
    let _asks = ran.exits(2).says("name them with --role");
    let reply = fleet.modern_client("reader", "analyst").await.call("example__echo", json!({ "text": "x" })).await;
    let _row = fleet.audit_rows(&reply.request_id()).await;
    let last = asked(&fleet, &tool).await;
    let given = asked(&fleet, &[&tool[..], &["--role", "operator", "--arguments", "{}"]].concat()).await;

    assert_eq!((&last["roles"], &last["planes"][0]["kind"]), (&json!(["analyst"]), &json!("hidden_tool")), "{last}");
    assert!(last["roles_from"].as_str().unwrap().starts_with("as in its last call, 20"), "{last}");
    assert_eq!((&given["roles_from"], &given["planes"][0]["would"]), (&json!("as given"), &json!("pass")), "{given}");
}

#[tokio::test]
async fn without_arguments_what_depends_on_them_is_said_to_depend() {
    let fleet = Fleet::start(Setup::example()).await;
    let line = ["--client", "an", "--role", "analyst", "--tool", "example__add"];

    let open = asked(&fleet, &line).await;
    let twice = asked(&fleet, &[&line[..], &["--arguments", r#"{"a":1,"a":2,"b":1}"#]].concat()).await;
    let broken = asked(&fleet, &[&line[..], &["--arguments", r#"{"a":5000,"b":1}"#]].concat()).await;

    let plane = &open["planes"][0];
    assert_eq!((&plane["would"], &plane["kind"]), (&json!("depend"), &json!("unjudged")), "{open}");
    assert_eq!(
        (&plane["stages"][7]["verdict"], &plane["stages"][9]["verdict"]),
        (&json!("unjudged"), &json!("passed"))
    );
    assert_eq!(twice["planes"][0]["kind"], "invalid_arguments", "{twice}");
    assert_eq!(broken["planes"][0]["stages"][7]["rules"][0]["rule"], "roles.analyst.rules[0]", "{broken}");
}

#[tokio::test]
async fn each_plane_answers_for_itself() {
    let fleet = Fleet::start(Setup::example().planes(2)).await;
    let line = ["--client", "op", "--role", "operator", "--tool", "example__echo", "--arguments", r#"{"text":"x"}"#];

    let both = asked(&fleet, &line).await;
    let one = asked(&fleet, &[&line[..], &["--plane", "plane-1"]].concat()).await;
    let shown = fleet.controller().run_args(&[&["explain"], &line[..]].concat(), &[]).await.exits(0);

    assert_eq!((both["planes"].as_array().unwrap().len(), one["planes"].as_array().unwrap().len()), (2, 1));
    assert_eq!(one["planes"][0]["plane_name"], "plane-1");
    let _once = shown.says("as of now on plane-0, plane-1");
    let wrong = fleet.controller().run_args(&[&["explain"], &line[..], &["--plane", "x"]].concat(), &[]).await;
    let _none = wrong.exits(4).says("no plane x is connected");
}

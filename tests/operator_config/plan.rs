//! `config plan`: the calls that were made, judged by a file; and that the file then does just that.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

/// Calls of two roles: tool, arguments, and whether they pass today.
const CALLS: [(&str, &str, &str); 6] = [
    ("operator", "example__slow", r#"{"ms":1}"#),
    ("operator", "example__echo", r#"{"text":"a"}"#),
    ("analyst", "example__echo", r#"{"text":"b"}"#),
    ("analyst", "example__slow", r#"{"ms":1}"#),
    ("analyst", "example__add", r#"{"a":1,"b":2}"#),
    ("analyst", "example__add", r#"{"a":500,"b":2}"#),
];

async fn replay(fleet: &Fleet) -> Vec<bool> {
    let mut passed = Vec::new();
    for (role, tool, arguments) in CALLS {
        let client = fleet.client(role, role).await;
        let reply = client.call(tool, serde_json::from_str(arguments).unwrap()).await;
        let _rows = fleet.audit_rows(&reply.request_id()).await;
        passed.push(reply.message["result"].is_object());
    }
    passed
}

fn groups(told: &Value, which: &str) -> Vec<(String, String, String)> {
    let text = |group: &Value, key: &str| group[key].as_str().unwrap().to_owned();
    let all = told[which].as_array().unwrap();
    all.iter().map(|group| (text(group, "client"), text(group, "tool"), text(group, "kind"))).collect()
}

#[tokio::test]
async fn what_is_predicted_is_what_happens_when_the_calls_are_made_again() {
    let fleet = Fleet::start(Setup::example().toml("[audit]\narguments = \"full\"")).await;
    let before = replay(&fleet).await;
    assert_eq!(before, [true, true, true, false, true, true]);
    let stricter = fleet.setup().roles(
        "[roles.operator]\nallow = [\"*\"]\ndeny = [\"*__slow\"]\n\
         [roles.analyst]\nallow = [\"*__echo\", \"*__add\", \"*__slow\"]\n\
         [[roles.analyst.rules]]\ntool = \"*__add\"\narguments = { properties = { a = { maximum = 10 } } }\n",
    );
    std::fs::write(fleet.folder().join("next.toml"), stricter.text(fleet.folder())).unwrap();

    let told = fleet.ctl("config plan next.toml --days 1 --output json").await.json();

    let (mut refused, allowed) = (groups(&told, "refused"), groups(&told, "allowed"));
    refused.sort();
    let of = |client: &str, tool: &str, kind: &str| (client.to_owned(), tool.to_owned(), kind.to_owned());
    assert_eq!(
        refused,
        [of("analyst", "example__add", "forbidden"), of("operator", "example__slow", "hidden_tool")],
        "{told}"
    );
    assert_eq!(allowed, [of("analyst", "example__slow", "hidden_tool")], "{told}");
    assert_eq!((&told["judged"], &told["unjudged"]), (&json!(6), &json!(0)), "{told}");
    let _shown =
        fleet.ctl("config plan next.toml").await.exits(0).says("2 of 6 calls since").says("roles.operator.deny");
    fleet.write(&stricter);
    let _published = fleet.ctl("reload").await.exits(0);
    assert_eq!(replay(&fleet).await, [false, true, true, true, true, false]);
}

#[tokio::test]
async fn arguments_that_the_audit_does_not_have_are_said_to_be_unjudged() {
    let fleet = Fleet::start(Setup::example().toml("[audit]\narguments = \"none\"")).await;
    let _passed = replay(&fleet).await;

    let told = fleet.ctl("config plan sentinel.toml --output json").await.json();

    assert_eq!((&told["unjudged"], &told["newly_refused"]), (&json!(2), &json!(0)), "{told}");
    assert_eq!(told["diff"]["same"], true);
}

#[tokio::test]
async fn a_file_with_mistakes_is_told_with_their_places() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    std::fs::write(fleet.folder().join("bad.toml"), "[auth]\n[gateway]\nlistem = 1\n[roles.a]\nalow = []\n").unwrap();
    let ran = fleet.ctl("config plan bad.toml").await.exits(2);
    let _said = ran.says("bad.toml:3:1: unknown key gateway.listem").says("bad.toml:5:1").says("2 problems");
}

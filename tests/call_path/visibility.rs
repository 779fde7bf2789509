//! What is hidden is not there: the same bytes, the same cost, for a hidden tool and for one that nobody has.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn a_hidden_and_an_unknown_tool_answer_the_same_bytes_but_for_the_request_id() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("reader", "analyst").await;
    let ask = |name: &str| {
        json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": { "name": name, "arguments": {} } })
            .to_string()
    };

    // Names of one length: the name itself is no part of an answer.
    let hidden = client.send(&ask("example__counter")).await;
    let unknown = client.send(&ask("example__no_such")).await;

    let (hidden_id, unknown_id) =
        (hidden.is_refused("unknown_tool", -32602), unknown.is_refused("unknown_tool", -32602));
    assert_eq!(hidden.text.replace(&hidden_id, "ID"), unknown.text.replace(&unknown_id, "ID"));
    assert_eq!(hidden.status, unknown.status);
    let names = |reply: &sentinel_tests::harness::reply::Reply| {
        let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&hidden), names(&unknown));
    assert_eq!(fleet.received("example").count("call"), 0);
    let recorded = (fleet.audit_rows(&hidden_id).await, fleet.audit_rows(&unknown_id).await);
    assert_eq!((&recorded.0[0]["kind"], &recorded.1[0]["kind"]), (&json!("hidden_tool"), &json!("unknown_tool")));
}

#[tokio::test]
async fn hidden_and_unknown_tools_use_up_the_same_limits() {
    let limits = "[rate_limit]\ndefault = { requests = 3, per_secs = 3600, burst = 3 }\n\
                  per_client = { requests = 5, per_secs = 3600, burst = 5 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let (one, two) = (fleet.client("one", "analyst").await, fleet.client("two", "analyst").await);

    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..7 {
        seen.0.push(one.call("example__counter", json!({})).await.data()["kind"].clone());
        seen.1.push(two.call("example__no_such", json!({})).await.data()["kind"].clone());
    }

    assert_eq!(seen.0, seen.1);
    assert!(seen.0.contains(&json!("rate_limited")), "{seen:?}");
}

#[tokio::test]
async fn a_list_shows_what_the_role_may_see_and_nothing_else() {
    let fleet = Fleet::start(Setup::example()).await;

    let analyst = fleet.client("reader", "analyst").await.tools().await;
    let operator = fleet.client("boss", "operator").await.tools().await;
    let nobody = fleet.client("stranger", "analyst").await;

    assert_eq!(analyst, ["example__echo", "example__add"]);
    assert!(operator.len() > 8 && operator.contains(&"example__crash".to_owned()), "{operator:?}");
    assert!(nobody.tools().await.len() == 2);
}

#[tokio::test]
async fn deny_wins_over_allow_and_a_renamed_or_hidden_tool_answers_to_its_new_name_alone() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.analyst]\nallow = [\"*\"]\ndeny = [\"*__plus\"]\n";
    let tools = "tools = { rename = { add = \"plus\" }, hide = [\"crash\"], describe = { echo = \"Says it again.\" } }\nprefix = \"x\"";
    let setup = Setup::one_plane().backend_with("example", tools).roles(roles);
    let fleet = Fleet::start(setup).await;
    let (operator, analyst) = (fleet.client("o", "operator").await, fleet.client("a", "analyst").await);

    assert_eq!(operator.call("x__plus", json!({ "a": 1, "b": 1 })).await.content(), "2");
    let _hidden = analyst.call("x__plus", json!({ "a": 1, "b": 1 })).await.is_refused("unknown_tool", -32602);
    let _old_name = operator.call("x__add", json!({ "a": 1, "b": 1 })).await.is_refused("unknown_tool", -32602);
    let _taken_out = operator.call("x__crash", json!({})).await.is_refused("unknown_tool", -32602);
    let listed = operator.request("tools/list", json!({})).await;
    let echo = listed.result()["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "x__echo").cloned();
    assert_eq!(echo.unwrap()["description"], "Says it again.");
}

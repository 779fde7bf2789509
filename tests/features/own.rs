//! A process that is not shared says that its list changed: those whose it is are told and listed what it offers now, by
//! the law for all lists, and nobody else learns of it.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example};
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

const PER_SESSION: &str = "isolation = \"per-session\"";
const PER_CLIENT: &str = "isolation = \"per-client\"";
const GROWN: &str = "own__grown_1";

async fn fleet(more: &str) -> Fleet {
    Fleet::start(Setup::one_plane().backend_with("own", more)).await
}

async fn method(notes: &mut Messages) -> Value {
    notes.next_json().await.unwrap()["method"].take()
}

async fn lists(client: &Client, tool: &str) -> bool {
    client.tools().await.iter().any(|listed| listed == tool)
}

#[tokio::test]
async fn a_session_is_told_and_listed_what_its_own_process_offers_and_no_other_session_is() {
    let fleet = fleet(PER_SESSION).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    let (mut to_first, mut to_second) = (first.listen().await, second.listen().await);

    assert_eq!(first.call("own__grow", json!({})).await.content(), "grown_1");
    assert_eq!(method(&mut to_first).await, "notifications/tools/list_changed");
    assert!(lists(&first, GROWN).await && !lists(&second, GROWN).await);
    assert_eq!(first.call(GROWN, json!({})).await.content(), "grown_1");
    let _unknown = second.call(GROWN, json!({})).await.is_refused("unknown_tool", -32602);

    // The first thing that the other hears is of its own process.
    assert_eq!(second.call("own__grow", json!({ "what": "resource" })).await.content(), "example://grown/1");
    assert_eq!(method(&mut to_second).await, "notifications/resources/list_changed");
    let read = json!({ "uri": "example://grown/1" });
    assert_eq!(second.request("resources/read", read.clone()).await.result()["contents"][0]["text"], "has grown");
    let _unknown = first.request("resources/read", read).await.is_refused("unknown_resource", -32002);

    assert_eq!(first.call("own__grow", json!({ "what": "prompt" })).await.content(), "grown_1");
    assert_eq!(method(&mut to_first).await, "notifications/prompts/list_changed");
    assert_eq!(
        first.request("prompts/get", json!({ "name": GROWN })).await.result()["messages"][0]["content"]["text"],
        "grown_1"
    );
}

#[tokio::test]
async fn a_modern_client_hears_of_its_own_process_and_another_client_does_not() {
    let fleet = fleet(PER_SESSION).await;
    let (mine, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let filter = json!({ "toolsListChanged": true, "promptsListChanged": true });
    let (_first, mut to_mine) = mine.listen(json!(1), filter.clone()).await;
    let (_first, mut to_other) = other.listen(json!(1), filter).await;

    let _grown = mine.call("own__grow", json!({})).await;
    assert_eq!(method(&mut to_mine).await, "notifications/tools/list_changed");
    assert!(mine.tools().await.iter().any(|tool| tool == GROWN));
    assert_eq!(mine.call(GROWN, json!({})).await.content(), "grown_1");
    assert!(!other.tools().await.iter().any(|tool| tool == GROWN));
    let _unknown = other.call(GROWN, json!({})).await.is_refused("unknown_tool", -32602);

    let _grown = other.call("own__grow", json!({ "what": "prompt" })).await;
    assert_eq!(method(&mut to_other).await, "notifications/prompts/list_changed");
}

#[tokio::test]
async fn a_modern_server_that_is_not_shared_is_heard_as_well() {
    let fleet = Fleet::start(Setup::one_plane().modern_backend("own", PER_SESSION)).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    let mut notes = first.listen().await;
    let _grown = first.call("own__grow", json!({})).await;
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert!(lists(&first, GROWN).await && !lists(&second, GROWN).await);
}

#[tokio::test]
async fn all_sessions_of_a_client_share_what_its_process_offers() {
    let fleet = fleet(PER_CLIENT).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    let other = fleet.client("two", "operator").await;
    let mut to_second = second.listen().await;
    let _grown = first.call("own__grow", json!({})).await;
    assert_eq!(method(&mut to_second).await, "notifications/tools/list_changed");
    assert!(lists(&first, GROWN).await && lists(&second, GROWN).await && !lists(&other, GROWN).await);
}

#[tokio::test]
async fn what_it_offered_goes_with_its_process_and_its_session_is_told() {
    let fleet = fleet(PER_SESSION).await;
    let client = fleet.client("one", "operator").await;
    let mut notes = client.listen().await;
    let _grown = client.call("own__grow", json!({})).await;
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert!(lists(&client, GROWN).await);

    let died = client.call("own__crash", json!({})).await;
    assert_eq!(died.data()["kind"], "backend_error");
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert!(!lists(&client, GROWN).await);
    let _unknown = client.call(GROWN, json!({})).await.is_refused("unknown_tool", -32602);
    until("its next process serves", async || {
        let reply = client.call("own__echo", json!({ "text": "goes on" })).await;
        if reply.message.get("result").is_some() { Ok(()) } else { Err(reply) }
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_idled_out_takes_its_offer_with_it() {
    let fleet = fleet("isolation = \"per-session\"\ninstance_idle_secs = 1").await;
    let client = fleet.client("one", "operator").await;
    let mut notes = client.listen().await;
    let _grown = client.call("own__grow", json!({})).await;
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed", "it was not called for a second");
    assert!(!lists(&client, GROWN).await);
}

#[tokio::test]
async fn roles_prefixes_hides_and_kill_switches_hold_for_what_one_process_offers() {
    let more =
        format!("{PER_SESSION}\nprefix = \"p\"\ntools.hide = [\"grown_2\"]\ntools.rename = {{ grown_1 = \"mine\" }}");
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.narrow]\nallow = [\"p__grow\", \"p__echo\", \"prompt:*\"]\n";
    let fleet = Fleet::start(Setup::one_plane().backend_with("own", &more).roles(roles)).await;
    let (client, narrow) = (fleet.client("one", "operator").await, fleet.client("two", "narrow").await);
    let (mut notes, mut to_narrow) = (client.listen().await, narrow.listen().await);

    let _grown = narrow.call("p__grow", json!({})).await;
    let _unknown = narrow.call("p__mine", json!({})).await.is_refused("unknown_tool", -32602);
    let _grown = narrow.call("p__grow", json!({ "what": "prompt" })).await;
    assert_eq!(method(&mut to_narrow).await, "notifications/prompts/list_changed", "the tool is none of its business");
    assert_eq!(narrow.tools().await, ["p__echo", "p__grow"]);

    let _grown = client.call("p__grow", json!({})).await;
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert_eq!(client.call("p__mine", json!({})).await.content(), "grown_1");
    let _hidden = client.call("p__grow", json!({})).await;
    let _grown = client.call("p__grow", json!({ "what": "prompt" })).await;
    assert_eq!(method(&mut notes).await, "notifications/prompts/list_changed", "what is hidden is no news");
    assert!(lists(&client, "p__mine").await && !lists(&client, "p__grown_2").await);

    until("the operator knows it by name", async || {
        let killed = fleet.ctl("kill-switch tool p__mine --reason test").await;
        if killed.code == Some(0) { Ok(()) } else { Err(killed) }
    })
    .await;
    let _killed = client.call("p__mine", json!({})).await.is_refused("disabled", -31423);
}

#[tokio::test]
async fn a_reload_judges_it_anew_and_a_virtual_server_has_its_part_of_it() {
    let servers = "[[virtual_servers]]\nname = \"all\"\nbackends = [\"own\"]\n\
        [[virtual_servers]]\nname = \"some\"\ninclude = [\"own__grow\"]\n";
    let setup = Setup::one_plane().backend_with("own", PER_SESSION).toml(servers);
    let fleet = Fleet::start(setup).await;
    let (all, some) =
        (fleet.client_of("all", "one", "operator").await, fleet.client_of("some", "one", "operator").await);
    let mut notes = all.listen().await;
    for client in [&all, &some] {
        let _grown = client.call("own__grow", json!({})).await;
    }
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert!(lists(&all, GROWN).await && !lists(&some, GROWN).await);
    let _unknown = some.call(GROWN, json!({})).await.is_refused("unknown_tool", -32602);

    let roles = "[roles.operator]\nallow = [\"*\"]\ndeny = [\"*grown*\"]\n";
    fleet.write(&fleet.setup().roles(roles));
    let _reloaded = fleet.ctl("reload").await.exits(0);
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    assert!(!lists(&all, GROWN).await);
    let _unknown = all.call(GROWN, json!({})).await.is_refused("unknown_tool", -32602);
}

#[tokio::test]
async fn no_process_takes_a_name_from_a_server_that_others_know_by_it() {
    let setup = Setup::one_plane().backend_with("own", PER_SESSION).backend("other");
    let fleet = Fleet::start(setup).await;
    let (client, watcher) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    let mut notes = watcher.listen().await;
    let _grown = watcher.call("other__grow", json!({ "what": "resource" })).await;
    assert_eq!(method(&mut notes).await, "notifications/resources/list_changed");

    let mut to_client = client.listen().await;
    for what in ["resource", "prompt"] {
        let _grown = client.call("own__grow", json!({ "what": what })).await;
    }
    until("both of its changes are in force", async || {
        let told = method(&mut to_client).await;
        if told == "notifications/prompts/list_changed" { Ok(()) } else { Err(told) }
    })
    .await;
    let read = client.request("resources/read", json!({ "uri": "example://grown/1" })).await;
    assert_eq!(read.result()["contents"][0]["text"], "has grown");
    let rows = fleet.audit_rows(&read.request_id()).await;
    assert_eq!(rows[0]["backend"], "other", "{rows:?}");
}

#[tokio::test]
async fn sessions_of_a_server_that_they_share_are_told_of_its_change_once() {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"own\"\nurl = \"{}\"\n{PER_SESSION}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    for client in [&first, &second] {
        assert_eq!(client.call("own__echo", json!({ "text": "here" })).await.content(), "here");
    }
    let mut notes = second.listen().await;
    let _grown = first.call("own__grow", json!({})).await;
    assert_eq!(method(&mut notes).await, "notifications/tools/list_changed");
    let _grown = first.call("own__grow", json!({ "what": "prompt" })).await;
    assert_eq!(method(&mut notes).await, "notifications/prompts/list_changed");
    assert!(lists(&first, GROWN).await && lists(&second, GROWN).await);
}

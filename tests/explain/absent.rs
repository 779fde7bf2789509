//! Ids without a row of their own, and rows that are no call: told in plain words.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn an_id_that_nobody_knows_is_said_to_be_unknown_in_one_sentence() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    let fresh = uuid::Uuid::now_v7();

    let unknown = fleet.ctl(&format!("explain {fresh}")).await.exits(1).says("no row has the request id");
    let old =
        fleet.ctl("explain 01000000-0000-7000-8000-000000000000").await.exits(1).says("rows are kept for 30 days");
    let other =
        fleet.ctl("explain 0f8fad5b-d9cb-469f-a165-70867728950e").await.exits(1).says("no request id of Sentinel");
    let none = fleet.ctl("explain nonsense").await.exits(2).says("wants a UUID");

    for ran in [&unknown, &old, &other, &none] {
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1), "{ran:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_somebody_unknown_is_said_to_share_a_row() {
    let fleet = Fleet::start(Setup::one_plane()).await;

    let stranger = Client::new(&fleet.planes[0].url(), "no token").request("ping", json!({})).await;

    let id = stranger.is_refused("unauthenticated", -31401);
    let _told = fleet.ctl(&format!("explain {id}")).await.exits(1).says("when their minute is over");
}

#[tokio::test]
async fn a_row_that_many_refusals_share_is_told_as_such_and_so_is_who_shares_it() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("eager", "operator").await;
    let mut last = String::new();
    for _ in 0..110 {
        last = client.call("example__no", json!({})).await.request_id();
    }
    // The end of the plane writes what is shared.
    fleet.planes[0].process.signal(nix::sys::signal::Signal::SIGTERM);
    let shared = until("the shared row is there", async || {
        let listed = fleet.ctl("audit list --client eager --limit 300 --output json").await.json();
        let rows = listed.as_array().unwrap().iter().find(|row| row["method"] == "refusals").cloned();
        rows.ok_or(listed)
    })
    .await;

    assert_eq!(shared["count"], 10, "{shared}");
    let told = fleet.ctl(&format!("explain {} --output json", shared["request_id"].as_str().unwrap())).await.json();
    let outcome = told["outcome"].as_str().unwrap();
    assert!(outcome.starts_with("this row stands for 10 refusals (unknown_tool) of client eager"), "{told}");
    let asked = fleet.ctl(&format!("explain {last}")).await.exits(1);
    let _said = asked.says("refusals shared a row then").says("10 × unknown_tool of eager");
}

#[tokio::test]
async fn a_record_that_has_not_come_yet_is_said_to_be_on_its_way_and_is_explained_when_it_has() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("op", "operator").await;
    fleet.control_plane.kill().await;
    let reply = client.call("example__echo", json!({ "text": "x" })).await;
    assert_eq!(reply.content(), "x");
    let none = fleet.ctl(&format!("explain {}", reply.request_id())).await;
    assert_eq!(none.code, Some(3), "{none:?}");

    fleet.control_plane.restart().await;
    fleet.until_connected().await;

    let _rows = fleet.audit_rows(&reply.request_id()).await;
    let _told =
        fleet.ctl(&format!("explain {}", reply.request_id())).await.exits(0).says("answered by backend example");
}

#[tokio::test]
async fn without_a_plane_a_row_is_explained_by_itself_and_that_is_said() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("an", "analyst").await;
    let reply = client.call("example__add", json!({ "a": 5000, "b": 1 })).await;
    let _rows = fleet.audit_rows(&reply.request_id()).await;
    fleet.planes[0].process.kill().await;
    until("the plane is lost", async || {
        let listed = fleet.ctl("plane list --output json").await;
        if listed.stdout.contains("\"lost\"") { Ok(()) } else { Err(listed) }
    })
    .await;

    let told = fleet.ctl(&format!("explain {} --output json", reply.request_id())).await.json();

    assert_eq!(told["stages"][7]["rules"][0]["rule"], "roles.analyst.rules[0]", "{told}");
    assert!(told["stages"][7]["rules"][0]["line"].is_u64(), "{told}");
    assert!(told["notes"].to_string().contains("no plane is connected"), "{told}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let fleet = Fleet::start(Setup::example()).await;
    let reply = fleet.client("op", "operator").await.call("example__echo", json!({ "text": "x" })).await;
    let _rows = fleet.audit_rows(&reply.request_id()).await;
    let ctl = sentinel_tests::harness::process::program("sentinelctl");
    let line = format!("{} explain {} | head -1; exit ${{PIPESTATUS[0]}}", ctl.display(), reply.request_id());
    let ran = tokio::process::Command::new("bash")
        .args(["-c", &line])
        .env("SENTINEL_DATA_DIR", fleet.folder().join("control"))
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "answered by backend example\n", "{ran:?}");
    assert_eq!((ran.status.code(), ran.stderr.len()), (Some(0), 0), "{ran:?}");
}

//! `config diff`: two configurations by meaning.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn a_file_against_what_runs_names_tools_of_roles_and_keys() {
    let fleet = Fleet::start(Setup::example()).await;
    let other = fleet
        .setup()
        .roles("[roles.operator]\nallow = [\"*\"]\ndeny = [\"*__slow\"]\n[roles.analyst]\nallow = [\"*__echo\", \"*__slow\"]\n")
        .backend_with("second", "timeout_secs = 5\n")
        .toml("[kill_switch]\nclients = [\"mallory\"]");
    std::fs::write(fleet.folder().join("other.toml"), other.text(fleet.folder())).unwrap();

    let told = fleet.ctl("config diff current other.toml --output json").await.json();

    let analyst = told["roles"].as_array().unwrap().iter().find(|role| role["role"] == "analyst").unwrap();
    assert_eq!((&analyst["gains"], &analyst["loses"]), (&json!(["example__slow"]), &json!(["example__add"])));
    let operator = told["roles"].as_array().unwrap().iter().find(|role| role["role"] == "operator").unwrap();
    assert_eq!(operator["loses"], json!(["example__slow"]));
    let changes = told["changes"].as_array().unwrap();
    let find = |section: &str, key: &str| changes.iter().find(|one| one["section"] == section && one["key"] == key);
    assert_eq!(find("backends", "second").unwrap()["kind"], "added");
    assert_eq!(find("kill_switch", "clients").unwrap()["after"], json!(["mallory"]));
    assert!(find("backends", "example").is_none(), "{told}");
    assert!(told["notes"][0].as_str().unwrap().contains("backend second is new"), "{told}");
    let shown = fleet.ctl("config diff 1 other.toml").await.exits(0);
    let _said = shown.says("role analyst").says("gains example__slow");
}

#[tokio::test]
async fn revisions_are_compared_and_the_same_is_the_same() {
    let fleet = Fleet::start(Setup::example()).await;
    fleet.write(&fleet.setup().toml("[gateway]\ndrain_secs = 7"));
    let _published = fleet.ctl("reload").await.exits(0);

    let told = fleet.ctl("config diff 1 2 --output json").await.json();

    let change = &told["changes"][0];
    assert_eq!(told["changes"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!((&change["key"], &change["before"], &change["after"]), (&json!("drain_secs"), &json!(20), &json!(7)));
    assert_eq!(fleet.ctl("config diff 2 sentinel.toml --output json").await.json()["same"], true);
    let _missing = fleet.ctl("config diff 1 99").await.exits(2).says("there is no revision 99");
    let _no_file = fleet.ctl("config diff 1 nowhere.toml").await.exits(2).says("nowhere.toml");
}

#[tokio::test]
async fn problems_of_a_file_are_named_with_their_places() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    std::fs::write(fleet.folder().join("bad.toml"), "[auth]\n[gateway]\nlistem = 1\n").unwrap();
    let _ran =
        fleet.ctl("config diff current bad.toml").await.exits(2).says("bad.toml:3:1: unknown key gateway.listem");
}

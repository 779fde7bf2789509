//! What operators see of virtual servers: in the check of a file, in the list of tools, in explanations.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::SERVERS;

#[tokio::test]
async fn a_file_that_names_what_is_not_there_is_refused_with_place_and_advice() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;
    let wrong = Setup::example().toml(
        "[[virtual_servers]]\nname = \"a\"\nbackends = [\"exampel\"]\n\
         [[virtual_servers]]\nname = \"b\"\ninclude = [\"exmple__*\"]\n",
    );
    fleet.write(&wrong);
    let text = std::fs::read_to_string(fleet.file()).unwrap();
    let line = |wanted: &str| text.lines().position(|line| line.contains(wanted)).unwrap() + 1;

    let checked = fleet.ctl("config check sentinel.toml").await.exits(2);
    let checked = checked.says(&format!("sentinel.toml:{}:13: virtual_servers[0].backends", line("exampel")));
    let checked = checked.says("did you mean \"example\"?");
    let checked = checked.says(&format!("sentinel.toml:{}:12: virtual_servers[1].include", line("exmple__")));
    let _said = checked.says("did you mean \"example__…\"?");
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(2), "{reloaded:?}");
    let research = fleet.client_of("research", "claude", "operator").await;
    assert_eq!(research.tools().await.len(), 2, "what was in force stays so");
}

#[tokio::test]
async fn tools_say_to_which_endpoints_they_belong_and_are_listed_by_them() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;

    let all = fleet.ctl("tool list --output json").await.json();
    let listed = fleet.ctl("tool list --server research --output json").await.json();

    let of = |name: &str| all.as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap()["servers"].clone();
    assert_eq!(
        (of("example__echo"), of("example__add"), of("other__add")),
        (json!(["research"]), json!([]), json!(["second"]))
    );
    let mut names: Vec<&str> = listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["example__counter", "example__echo"]);
    let _shown = fleet.ctl("tool show other__add").await.exits(0).says("virtual servers");
    let _near = fleet.ctl("tool list --server researhc").await.exits(2).says("did you mean research?");
}

#[tokio::test]
async fn an_explanation_through_an_endpoint_is_what_its_clients_would_meet() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;
    let ask = |tool: &'static str, server: &'static str| {
        let ctl = fleet.controller();
        let line = [
            "explain",
            "--output",
            "json",
            "--client",
            "c",
            "--role",
            "operator",
            "--tool",
            tool,
            "--arguments",
            "{}",
            "--server",
            server,
        ];
        async move { ctl.run_args(&line, &[]).await }
    };

    let inside = ask("example__counter", "research").await.json();
    let outside = ask("example__env", "research").await.json();

    assert_eq!((&inside["server"], &inside["planes"][0]["would"]), (&json!("research"), &json!("pass")), "{inside}");
    let plane = &outside["planes"][0];
    assert_eq!((&plane["would"], &plane["kind"]), (&json!("refuse"), &json!("unknown_tool")), "{outside}");
    let refusing = plane["stages"].as_array().unwrap().iter().find(|stage| stage["verdict"] == "refused").unwrap();
    assert_eq!(refusing["why"], "the virtual server research has no tool of this name");
    let rule = &refusing["rules"][0];
    assert!(rule["rule"] == "virtual_servers.research" && rule["line"].is_u64(), "{rule}");
    let _near = ask("example__echo", "reserch").await.exits(2).says("did you mean research?");
}

//! A request about a task is judged as a call of its tool would be: whose it is, what the client may see, what is killed.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::modern_http_example;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{begun, cancel, fleet, get, received, setup, told, update};

/// All that can be asked of it.
async fn each(client: &ModernClient, id: &str) -> Vec<Reply> {
    vec![get(client, id).await, update(client, id, json!({})).await, cancel(client, id).await]
}

#[tokio::test]
async fn a_task_that_is_forged_or_foreign_is_as_one_that_never_was_and_no_server_hears_of_it() {
    let (server, fleet) = fleet("").await;
    let (mine, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let id = begun(&mine, "web__job", json!({ "id": "own-4" })).await;
    let reached = || {
        let events = server.received().events();
        events.iter().filter(|event| event["tool"].as_str().unwrap().starts_with("tasks/")).count()
    };
    let unknown = get(&mine, "never-was").await;
    crate::schema::is_a("InvalidParamsError", &unknown.message["error"]);
    let never = told(&unknown);
    let (start, end) = id.split_at(id.len() - 1);
    let changed = format!("{start}{}", if end == "A" { "B" } else { "A" });
    for forged in ["", "own-4", "t1.", start, &changed, &id.replacen("t1.", "s1.", 1), &"t1.A".repeat(1_000)] {
        for refused in each(&mine, forged).await {
            let _id = refused.is_refused("unknown_task", -32602);
            assert_eq!(told(&refused), never, "{forged:.40}");
        }
    }
    for refused in each(&other, &id).await {
        assert_eq!(told(&refused), never, "another client's");
    }
    assert_eq!(reached(), 0);
    assert_eq!(get(&mine, &id).await.result()["status"], "completed");
    assert_eq!(reached(), 1);
}

#[tokio::test]
async fn a_kill_stops_what_is_asked_of_a_running_task_and_takes_it_back_at_its_server() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let count = |method: &str| {
            let events = received(&server, &fleet, backend).events();
            events.iter().filter(|event| event["event"] == "modern" && event["tool"] == method).count()
        };
        let scopes = [format!("tool {backend}__job"), format!("backend {backend}"), "client one".into(), "all".into()];
        for (at, what) in scopes.into_iter().enumerate() {
            let id = begun(&client, &format!("{backend}__job"), json!({ "looks": 1_000 })).await;
            assert_eq!(get(&client, &id).await.result()["status"], "working");
            let _killed = fleet.ctl(&format!("kill-switch {what} --reason test")).await.exits(0);
            for refused in each(&client, &id).await {
                let _id = refused.is_refused("disabled", -31423);
                assert_eq!(refused.data()["scope"], what.split(' ').next().unwrap());
            }
            assert_eq!((count("tasks/get"), count("tasks/update")), (at * 2 + 1, 0), "no server hears of it");
            until("its server was told to end it", async || {
                let told = count("tasks/cancel");
                if told == at + 1 { Ok(()) } else { Err(told) }
            })
            .await;
            let _lifted = fleet.ctl(&format!("kill-switch {what} --lift")).await.exits(0);
            assert_eq!(get(&client, &id).await.result()["status"], "cancelled");
        }
    }
}

#[tokio::test]
async fn a_kill_leaves_the_tasks_of_others_and_those_that_are_over() {
    let (server, fleet) = fleet("").await;
    let (mine, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let over = begun(&mine, "web__job", json!({ "id": "over" })).await;
    assert_eq!(get(&mine, &over).await.result()["status"], "completed");
    let first = crate::call(&mine, "web__job", json!({ "id": "first", "looks": 9 })).await;
    let others = begun(&other, "web__job", json!({ "id": "others", "looks": 9 })).await;
    let _killed = fleet.ctl("kill-switch client one --reason left").await.exits(0);
    let row = until("it was taken back, and recorded", async || {
        let listed = fleet.ctl("audit list --limit 100 --output json").await;
        let rows: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        rows.into_iter().find(|row| row["method"] == "tasks/cancel").ok_or(listed)
    })
    .await;
    assert_eq!(
        (&row["status"], &row["kind"], &row["client"]),
        (&json!("cancelled"), &json!("disabled"), &json!("one"))
    );
    assert_eq!((&row["tool"], row["parent"].as_str()), (&json!("web__job"), Some(first.request_id().as_str())));
    assert_eq!(row["detail"]["detail"], json!({ "scope": "client", "reason": "left" }));
    let events = server.received().events();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["tool"] == "tasks/cancel")
        .map(|event| event["arguments"]["taskId"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["first"]);
    assert_eq!(get(&other, &others).await.result()["status"], "working");
}

#[tokio::test]
async fn a_task_is_there_for_its_client_as_long_as_its_tool_is() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.guest]\nallow = [\"web__echo\", \"pipe__job\"]\n";
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, "").roles(roles)).await;
    let (all, less) = (fleet.modern_client("one", "operator").await, fleet.modern_client("one", "guest").await);
    let hidden = begun(&all, "web__job", json!({})).await;
    let shown = begun(&all, "pipe__job", json!({})).await;

    let never = told(&get(&less, "never-was").await);
    let refused = get(&less, &hidden).await;
    assert_eq!(told(&refused), never, "the same client by a role that does not show the tool");
    let row = &fleet.audit_rows(&refused.request_id()).await[0];
    assert_eq!((&row["kind"], &row["tool"]), (&json!("hidden_task"), &json!("web__job")));
    assert_eq!(get(&less, &shown).await.result()["status"], "completed");
}

#[tokio::test]
async fn a_task_is_there_at_each_endpoint_that_has_its_tool() {
    let servers = "[[virtual_servers]]\nname = \"with\"\ninclude = [\"web__job\"]\n\
        [[virtual_servers]]\nname = \"without\"\ninclude = [\"web__echo\", \"pipe__job\"]\n";
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, "").toml(servers)).await;
    let token = fleet.token("one", "operator").await;
    let at = |name: &str| ModernClient::new(&fleet.planes[0].server_url(name), &token);
    let main = fleet.modern_client("one", "operator").await;
    let id = begun(&main, "web__job", json!({})).await;
    assert_eq!(get(&at("with"), &id).await.result()["status"], "completed");
    let _id = get(&at("without"), &id).await.is_refused("unknown_task", -32602);
    let there = begun(&at("with"), "web__job", json!({})).await;
    assert_eq!(get(&main, &there).await.result()["status"], "completed");
}

#[tokio::test]
async fn another_plane_with_another_key_knows_no_task_of_this_one() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, "").planes(2)).await;
    let token = fleet.token("one", "operator").await;
    let [here, there] = [0, 1].map(|at| ModernClient::new(&fleet.planes[at].url(), &token));
    let id = begun(&here, "web__job", json!({})).await;
    let _id = get(&there, &id).await.is_refused("unknown_task", -32602);
    assert_eq!(get(&here, &id).await.result()["status"], "completed");
}

#[tokio::test]
async fn looking_after_a_task_takes_from_the_clients_limit_and_not_from_the_tools() {
    let limits = "[rate_limit]\n\
        default = { requests = 1, per_secs = 86400, burst = 1 }\n\
        per_client = { requests = 5, per_secs = 86400, burst = 5 }\n";
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, "").limits(limits)).await;
    let client = fleet.modern_client("one", "operator").await;
    let id = begun(&client, "web__job", json!({})).await;
    for _ in 0..3 {
        assert_eq!(get(&client, &id).await.result()["status"], "completed");
    }
    let _id = get(&client, "forged").await.is_refused("unknown_task", -32602);
    for id in [id.as_str(), "forged"] {
        let refused = get(&client, id).await;
        let _id = refused.is_refused("rate_limited", -31429);
        assert_eq!(refused.data()["limit"], "client");
    }
}

#[tokio::test]
async fn a_role_that_rules_arguments_judged_them_with_the_call() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[[roles.operator.rules]]\ntool = \"web__job\"\n\
        arguments = { required = [\"looks\"], properties = { looks = { maximum = 5 } } }\n";
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, "").roles(roles)).await;
    let client = fleet.modern_client("one", "operator").await;
    let refused = crate::call(&client, "web__job", json!({ "looks": 9 })).await;
    let _id = refused.is_refused("forbidden", -31403);
    let id = begun(&client, "web__job", json!({ "looks": 2 })).await;
    assert_eq!(get(&client, &id).await.result()["status"], "working");
}

//! A request about a task is judged and recorded as a call of its tool would be.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::tasks_http_example;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use super::{BACKENDS, awaiting, begun, call, client, fleet, of_task, received, setup, status};
use crate::{form, told};

const EACH: [&str; 3] = ["get", "result", "cancel"];

#[tokio::test]
async fn a_task_that_is_forged_or_foreign_is_as_one_that_never_was_and_no_server_hears_of_it() {
    let (server, fleet) = fleet("").await;
    let (mine, other) = (client(&fleet, "one").await, client(&fleet, "two").await);
    let id = begun(&mine, "web__chore", json!({ "id": "own-4" })).await;
    let unknown = of_task(&mine, "get", "never-was").await;
    let never = told(&unknown);
    let _id = unknown.is_refused("unknown_task", -32602);
    let (start, end) = id.split_at(id.len() - 1);
    let changed = format!("{start}{}", if end == "A" { "B" } else { "A" });
    for forged in ["", "own-4", "c1.", start, &changed, &id.replacen("c1.", "t1.", 1)] {
        for what in EACH {
            assert_eq!(told(&of_task(&mine, what, forged).await), never, "{what} {forged:.40}");
        }
    }
    for what in EACH {
        assert_eq!(told(&of_task(&other, what, &id).await), never, "another client's");
    }
    assert_eq!(server.received().count("task"), 0);
    assert_eq!(status(&mine, &id).await, "completed");
}

#[tokio::test]
async fn a_task_of_a_process_for_each_session_is_there_in_its_session_alone() {
    let (_server, fleet) = fleet("").await;
    let (here, there) = (client(&fleet, "one").await, client(&fleet, "one").await);
    let own = begun(&here, "own__chore", json!({ "id": "1" })).await;
    let _other = begun(&there, "own__chore", json!({ "id": "1", "looks": 1_000 })).await;
    let _id = of_task(&there, "get", &own).await.is_refused("unknown_task", -32602);
    assert_eq!(status(&here, &own).await, "completed");
    let shared = begun(&here, "web__chore", json!({})).await;
    assert_eq!(status(&there, &shared).await, "completed", "one that all share has it for its client");
}

#[tokio::test]
async fn a_kill_refuses_what_is_asked_of_a_task_ends_who_waits_and_takes_it_back() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let count = || {
            received(&server, &fleet, backend).events().iter().filter(|event| event["tool"] == "tasks/cancel").count()
        };
        for (at, what) in [format!("tool {backend}__chore"), "client one".into()].into_iter().enumerate() {
            let id = begun(&client, &format!("{backend}__chore"), json!({ "looks": 1_000, "holds": true })).await;
            let waits = async { awaiting(&client, &id).await.next_json().await.unwrap() };
            let kill = async {
                until("its server has the question", async || {
                    let asked = received(&server, &fleet, backend)
                        .events()
                        .iter()
                        .filter(|event| event["tool"] == "tasks/result")
                        .count();
                    if asked > at { Ok(()) } else { Err(asked) }
                })
                .await;
                let _killed = fleet.ctl(&format!("kill-switch {what} --reason test")).await.exits(0);
            };
            let (ended, ()) = tokio::join!(waits, kill);
            assert_eq!(ended["error"]["data"]["kind"], "disabled", "{ended}");
            for what in EACH {
                let _id = of_task(&client, what, &id).await.is_refused("disabled", -31423);
            }
            until("its server was told to end it", async || {
                let told = count();
                if told == at + 1 { Ok(()) } else { Err(told) }
            })
            .await;
            let _lifted = fleet.ctl(&format!("kill-switch {what} --lift")).await.exits(0);
            assert_eq!(status(&client, &id).await, "cancelled");
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_task_waits_as_long_as_its_tool_may_take_and_can_wait_again() {
    let limits = "timeout_secs = 1\nmax_timeout_secs = 2";
    let (server, fleet) = fleet(limits).await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let id = begun(&client, &format!("{backend}__chore"), json!({ "looks": 1, "holds": true })).await;
        for _ in 0..2 {
            let begun = tokio::time::Instant::now();
            let _id = of_task(&client, "result", &id).await.is_refused("timeout", -31504);
            let waited = begun.elapsed();
            assert!(waited.as_millis() > 1_900, "{waited:?}");
        }
        assert_eq!(status(&client, &id).await, "completed", "it is not its server's fault: it is asked as before");
        until("its server was told that nobody waits", async || {
            let told = received(&server, &fleet, backend).count("cancelled");
            if told == 2 { Ok(()) } else { Err(told) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_waits_no_more_and_its_task_goes_on() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let id = begun(&client, &format!("{backend}__chore"), json!({ "looks": 1, "holds": true })).await;
        let heard = async |event: &str, count: usize| {
            until("its server heard of it", async || {
                let events = received(&server, &fleet, backend).events();
                let is_it = |one: &&Value| one["event"] == event && one["tool"] == "tasks/result";
                let heard = events.iter().filter(is_it).count();
                if heard == count { Ok(()) } else { Err(heard) }
            })
            .await;
        };
        tokio::select! {
            answered = of_task(&client, "result", &id) => panic!("{answered:?}"),
            () = heard("task", 1) => {}
        }
        heard("cancelled", 1).await;
        assert_eq!(status(&client, &id).await, "completed");
    }
}

#[tokio::test]
async fn what_is_asked_of_a_task_is_recorded_beside_its_call() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    let row = async |reply: &Reply| fleet.audit_rows(&reply.request_id()).await[0].clone();
    let handle = call(&client, "web__chore", json!({ "looks": 2, "fails": "tool" })).await;
    let (first, id) = (handle.request_id(), handle.result()["task"]["taskId"].as_str().unwrap());
    assert_eq!(row(&handle).await["detail"]["detail"]["task"], "working");
    for (what, outcome, became) in [
        ("get", "ok", json!("working")),
        ("get", "tool_error", json!("failed")),
        ("result", "tool_error", Value::Null),
        ("cancel", "ok", json!("cancelled")),
    ] {
        let row = row(&of_task(&client, what, id).await).await;
        assert_eq!((&row["status"], &row["method"]), (&json!(outcome), &json!(format!("tasks/{what}"))), "{row}");
        assert_eq!(row["detail"]["detail"]["task"], became, "{row}");
        assert_eq!(
            (&row["tool"], &row["backend"], &row["client"]),
            (&json!("web__chore"), &json!("web"), &json!("one"))
        );
        assert_eq!(row["parent"], first.as_str());
    }
}

#[tokio::test]
async fn a_question_of_a_task_is_recorded_with_its_tool() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    let id = begun(&client, "web__chore", json!({ "asks": { "a": form("Sure?") } })).await;
    let mut messages = awaiting(&client, &id).await;
    let question = messages.next_json().await.unwrap();
    let _taken =
        client.respond(&question["id"], json!({ "action": "accept", "content": { "secret": "hunter2" } })).await;
    assert!(messages.next_json().await.unwrap()["result"].is_object());
    let question = until("it is recorded", async || {
        let listed = fleet.ctl("audit list --limit 100 --output json").await;
        assert!(!listed.stdout.contains("hunter2"));
        let rows: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        rows.into_iter().find(|row| row["method"] == "elicitation/create").ok_or(listed)
    })
    .await;
    assert_eq!((&question["status"], &question["tool"]), (&json!("ok"), &json!("web__chore")));
}

#[tokio::test]
async fn a_task_is_there_at_each_endpoint_that_has_its_tool_and_as_long_as_its_role_shows_it() {
    let servers = "[[virtual_servers]]\nname = \"with\"\ninclude = [\"web__chore\"]\n\
        [[virtual_servers]]\nname = \"without\"\ninclude = [\"web__echo\", \"own__chore\"]\n";
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.guest]\nallow = [\"web__echo\", \"own__chore\"]\n";
    let server = tasks_http_example();
    let fleet = Fleet::start(setup(&server, "").toml(servers).roles(roles)).await;
    let main = client(&fleet, "one").await;
    let id = begun(&main, "web__chore", json!({})).await;
    let token = fleet.token("one", "operator").await;
    let at = async |name: &str, token: &str| Client::connected(&fleet.planes[0].server_url(name), token).await;
    assert_eq!(status(&at("with", &token).await, &id).await, "completed");
    let never = told(&of_task(&main, "get", "never-was").await);
    assert_eq!(told(&of_task(&at("without", &token).await, "get", &id).await), never);
    let guest = fleet.client("one", "guest").await;
    assert_eq!(
        told(&of_task(&guest, "result", &id).await),
        never,
        "the same client by a role that does not show the tool"
    );
}

#[tokio::test]
async fn a_role_that_rules_arguments_judged_them_with_the_call() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[[roles.operator.rules]]\ntool = \"web__chore\"\n\
        arguments = { required = [\"looks\"], properties = { looks = { maximum = 5 } } }\n";
    let server = tasks_http_example();
    let fleet = Fleet::start(setup(&server, "").roles(roles)).await;
    let client = client(&fleet, "one").await;
    let _id = call(&client, "web__chore", json!({ "looks": 9 })).await.is_refused("forbidden", -31403);
    let id = begun(&client, "web__chore", json!({ "looks": 2 })).await;
    assert_eq!(status(&client, &id).await, "working");
}

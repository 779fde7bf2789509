//! A modern client and a legacy server: what the server asks in the midst of a call is the client's answer; the call waits
//! on this plane, and the retry goes on with it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{HttpExample, Setup, http_example};
use sentinel_tests::harness::stdio_client::StdioClient;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{all, answers, call, message, next, question, rows, said};

const OWN: &str = "isolation = \"per-session\"";

/// A server that all share as `web` over HTTP, and one of each client's own as `pipe` over stdio.
async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().backend_with("pipe", OWN).toml(&web)).await;
    (server, fleet)
}

async fn until_idle(fleet: &Fleet) {
    until("nothing runs and nothing waits", async || {
        let in_flight = fleet.planes[0].metric("sentinel_in_flight").await;
        if in_flight == Some(0.0) { Ok(()) } else { Err(in_flight) }
    })
    .await;
}

fn accepted(asked: &Reply) -> Value {
    let (key, _, _) = question(asked);
    next(asked, &json!({ key: { "action": "accept", "content": { "sure": true } } }))
}

#[tokio::test]
async fn each_question_reaches_the_client_and_its_answer_the_call_that_waits() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["web", "pipe"] {
        for (tool, arguments, method, answer) in answers() {
            let tool = format!("{backend}__{tool}");
            let asked = call(&client, &tool, &arguments, &all(), Value::Null).await;
            let (key, asks, params) = question(&asked);
            assert_eq!((asked.status, &*asks), (200, method), "{tool}");
            assert!(params.get("elicitationId").is_none(), "this revision has none");
            if method == "elicitation/create" {
                assert!(params["message"].as_str().unwrap().starts_with(&format!("[{backend}] ")));
                assert_eq!(params["url"], arguments["url"]);
            }
            assert_eq!(fleet.planes[0].metric("sentinel_in_flight").await, Some(1.0), "the call goes on");
            assert_eq!(fleet.planes[0].metric("sentinel_parked_calls").await, Some(1.0));
            let done = call(&client, &tool, &arguments, &all(), next(&asked, &json!({ key: answer }))).await;
            assert_eq!(said(&done.message), json!({ "result": answer }), "{tool}");
            assert_eq!(done.result()["resultType"], "complete");
        }
    }
    for log in [server.received(), fleet.received("pipe")] {
        assert_eq!(log.count("call"), 4, "each call ran once");
    }
    until_idle(&fleet).await;
    let calls = rows(&fleet, "tools/call", 16).await;
    for pair in calls.chunks(2) {
        assert_eq!((&pair[0]["status"], &pair[1]["status"]), (&json!("input_required"), &json!("ok")));
        assert_eq!((&pair[0]["parent"], &pair[1]["parent"]), (&json!(""), &pair[0]["request_id"]));
    }
    let questions = rows(&fleet, "elicitation/create", 4).await;
    assert!(questions.iter().all(|row| row["status"] == "ok" && row["detail"]["detail"]["action"] == "accept"));
    assert!(questions.iter().all(|row| calls.iter().any(|call| call["request_id"] == row["parent"])));
}

#[tokio::test]
async fn a_server_of_its_own_is_told_what_the_client_declares() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for declares in [all(), json!({ "elicitation": {} }), json!({})] {
        let declared = call(&client, "pipe__declared", &json!({}), &declares, Value::Null).await;
        assert_eq!(said(&declared.message), declares);
    }
    let forms = json!({ "elicitation": {} });
    for (tool, arguments, code) in [
        ("web__sample", json!({}), -32601),
        ("web__elicit", json!({ "url": "https://example.com/" }), -32602),
        ("pipe__roots", json!({}), -32601),
    ] {
        let done = call(&client, tool, &arguments, &forms, Value::Null).await;
        assert_eq!(said(&done.message)["error"]["code"], code, "{tool}: {done:?}");
    }
}

#[tokio::test]
async fn a_round_is_answered_once_and_a_used_state_changes_nothing() {
    let (server, fleet) = fleet("").await;
    let (mine, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let asked = call(&mine, "web__elicit", &json!({}), &all(), Value::Null).await;
    let retry = accepted(&asked);
    let stolen = call(&other, "web__elicit", &json!({}), &all(), retry.clone()).await;
    let _id = stolen.is_refused("invalid_params", -32602);
    let odd = json!({ "requestState": retry["requestState"], "inputResponses": { "a": 7 } });
    let refused = call(&mine, "web__elicit", &json!({}), &all(), odd).await;
    let _id = refused.is_refused("invalid_params", -32602);

    // What is missing is asked again, and the state before is used.
    let again = call(&mine, "web__elicit", &json!({}), &all(), next(&asked, &json!({ "other": {} }))).await;
    assert_eq!(question(&again).0, question(&asked).0);
    let used = call(&mine, "web__elicit", &json!({}), &all(), retry).await;
    let _id = used.is_refused("invalid_params", -32602);
    let retry = accepted(&again);
    let done = call(&mine, "web__elicit", &json!({}), &all(), retry.clone()).await;
    assert_eq!(said(&done.message)["result"]["action"], "accept");
    let used = call(&mine, "web__elicit", &json!({}), &all(), retry).await;
    assert!(used.message["error"]["message"].as_str().unwrap().contains("used already"), "{used:?}");
    assert_eq!((server.received().count("call"), server.received().count("answer")), (1, 1));
}

#[tokio::test]
async fn what_is_asked_at_once_is_one_answer_and_more_rounds_are_more() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "times": 3 });
    let asked = call(&client, "web__sample", &arguments, &all(), Value::Null).await;
    let keys: Vec<String> = asked.result()["inputRequests"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 3, "{asked:?}");
    let first = json!({ &keys[0]: { "n": 0 }, &keys[2]: { "n": 2 } });
    let rest = call(&client, "web__sample", &arguments, &all(), next(&asked, &first)).await;
    assert_eq!(question(&rest).0, keys[1], "what was answered is not asked again");
    let done = call(&client, "web__sample", &arguments, &all(), next(&rest, &json!({ &keys[1]: { "n": 1 } }))).await;
    let all: Vec<_> = said(&done.message).as_array().unwrap().iter().map(|one| one["result"]["n"].clone()).collect();
    assert_eq!(all.len(), 3);
    assert!([0, 1, 2].iter().all(|n| all.contains(&json!(n))), "{all:?}");
}

#[tokio::test]
async fn calls_that_wait_keep_none_of_their_client_from_being_asked() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let mut waiting = Vec::new();
    for (tool, arguments, _, answer) in answers() {
        let tool = format!("pipe__{tool}");
        let asked = call(&client, &tool, &arguments, &all(), Value::Null).await;
        waiting.push((question(&asked).0, tool, arguments, answer, asked));
    }
    assert_eq!(fleet.received("pipe").pids().len(), 2, "one that lists, and one of theirs, which asks in all of them");
    for (key, tool, arguments, answer, asked) in waiting.into_iter().rev() {
        let done = call(&client, &tool, &arguments, &all(), next(&asked, &json!({ key: answer }))).await;
        assert_eq!(said(&done.message), json!({ "result": answer }), "{tool}");
    }
}

#[tokio::test]
async fn calls_at_once_on_a_server_of_ones_own_have_all_their_questions_answered() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let _nobody_comes_back = question(&call(&client, "pipe__elicit", &json!({}), &all(), Value::Null).await);
    let three = json!({ "times": 3 });
    let can = all();
    let asks = || call(&client, "pipe__sample", &three, &can, Value::Null);

    let (one, two) = tokio::join!(asks(), asks());

    let ended = async |mut asked: Reply| {
        let mut rounds = 0;
        while asked.result()["resultType"] == "input_required" && rounds < 5 {
            let keys = asked.result()["inputRequests"].as_object().unwrap().keys();
            let responses: Value = keys.map(|key| (key.clone(), json!({ "role": "assistant" }))).collect();
            asked = call(&client, "pipe__sample", &three, &all(), next(&asked, &responses)).await;
            rounds += 1;
        }
        said(&asked.message)
    };
    let (one, two) = tokio::join!(ended(one), ended(two));
    let answers = json!([{ "result": { "role": "assistant" } }, { "result": { "role": "assistant" } }, { "result": { "role": "assistant" } }]);
    assert_eq!((&one, &two), (&answers, &answers));
}

#[tokio::test]
async fn a_kill_cuts_what_waits_and_nothing_is_done_after_it() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for (scope, name) in [("backend", "web"), ("tool", "web__elicit"), ("client", "one")] {
        let asked = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
        let retry = accepted(&asked);
        let _killed = fleet.ctl(&format!("kill-switch {scope} {name} --reason test")).await.exits(0);
        until_idle(&fleet).await;
        let refused = call(&client, "web__elicit", &json!({}), &all(), retry.clone()).await;
        let _id = refused.is_refused("disabled", -31423);
        let _lifted = fleet.ctl(&format!("kill-switch {scope} {name} --lift")).await.exits(0);
        let lost = call(&client, "web__elicit", &json!({}), &all(), retry).await;
        let _id = lost.is_refused("interaction_lost", -31410);
    }
    let abandoned = rows(&fleet, "tools/call", 12).await.into_iter().filter(|row| row["status"] == "abandoned");
    let kinds: Vec<_> = abandoned.map(|row| (row["kind"].clone(), row["parent"] != "")).collect();
    assert_eq!(kinds, vec![(json!("disabled"), true); 3]);
    assert_eq!(server.received().count("call"), 3);
}

#[tokio::test]
async fn a_server_that_dies_meanwhile_and_another_plane_are_told_clearly() {
    let server = http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().planes(2).backend_with("pipe", OWN).toml(&web)).await;
    let token = fleet.token("one", "operator").await;
    let [here, there] =
        [0, 1].map(|at| sentinel_tests::harness::modern::ModernClient::new(&fleet.planes[at].url(), &token));
    let asked = call(&here, "web__elicit", &json!({}), &all(), Value::Null).await;
    let lost = call(&there, "web__elicit", &json!({}), &all(), accepted(&asked)).await;
    let _id = lost.is_refused("interaction_lost", -31410);
    let done = call(&here, "web__elicit", &json!({}), &all(), accepted(&asked)).await;
    assert_eq!(said(&done.message)["result"]["action"], "accept");

    let asked = call(&here, "pipe__elicit", &json!({}), &all(), Value::Null).await;
    let events = fleet.received("pipe").events();
    let calling = events.iter().rfind(|event| event["event"] == "call").unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(calling["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let broken = call(&here, "pipe__elicit", &json!({}), &all(), accepted(&asked)).await;
    let kind = broken.data()["kind"].as_str().unwrap_or_default().to_owned();
    assert!(matches!(&*kind, "backend_error"), "{broken:?}");
    assert_eq!(fleet.received("pipe").count("call"), 1, "it is not sent again by itself");
}

#[tokio::test]
async fn what_nobody_comes_for_expires_and_its_server_is_told() {
    let (server, fleet) = fleet("[gateway]\nparked_secs = 1").await;
    let client = fleet.modern_client("one", "operator").await;
    let asked = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
    until_idle(&fleet).await;
    until("the server is told", async || {
        let log = server.received();
        if log.count("answer") == 1 && log.count("cancel") == 1 { Ok(()) } else { Err(log.events()) }
    })
    .await;
    let late = call(&client, "web__elicit", &json!({}), &all(), accepted(&asked)).await;
    let _id = late.is_refused("invalid_params", -32602);
    let abandoned = rows(&fleet, "tools/call", 2).await.into_iter().find(|row| row["status"] == "abandoned").unwrap();
    assert_eq!((&abandoned["kind"], &abandoned["parent"]), (&json!("timeout"), &json!(asked.request_id())));
    let asked_row = &rows(&fleet, "elicitation/create", 1).await[0];
    assert_eq!((&asked_row["status"], &asked_row["kind"]), (&json!("timeout"), &json!("timeout")));
}

#[tokio::test]
async fn a_question_that_is_taken_back_is_gone_and_the_call_goes_on() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "withdraw": true });
    let asked = call(&client, "web__elicit", &arguments, &all(), Value::Null).await;
    until("it is taken back", async || {
        let row = &rows(&fleet, "elicitation/create", 1).await[0];
        if row["kind"] == "withdrawn" { Ok(()) } else { Err(row.clone()) }
    })
    .await;
    let done = call(&client, "web__elicit", &arguments, &all(), accepted(&asked)).await;
    assert_eq!(said(&done.message), json!("withdrawn"));
    assert_eq!(server.received().count("answer"), 0);
}

#[tokio::test]
async fn more_than_may_wait_is_refused_to_the_server_and_its_call_goes_on() {
    let (_server, fleet) = fleet("[gateway]\nmax_parked_per_client = 2").await;
    let (client, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let first = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
    let _second = question(&call(&client, "web__elicit", &json!({}), &all(), Value::Null).await);
    let refused = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
    assert_eq!(said(&refused.message)["error"]["code"], -32603, "{refused:?}");
    let _others = question(&call(&other, "web__elicit", &json!({}), &all(), Value::Null).await);
    let done = call(&client, "web__elicit", &json!({}), &all(), accepted(&first)).await;
    assert_eq!(said(&done.message)["result"]["action"], "accept");
    let _room = question(&call(&client, "web__elicit", &json!({}), &all(), Value::Null).await);
}

#[tokio::test]
async fn an_attached_client_of_the_modern_era_goes_on_over_its_pipe() {
    let (_server, fleet) = fleet("").await;
    let modern = fleet.modern_client("one", "operator").await;
    let mut client = StdioClient::attached(&fleet.planes[0], fleet.folder(), &modern.token);
    for tool in ["web__elicit", "pipe__elicit"] {
        let first = message(&modern, tool, &json!({}), &all(), Value::Null);
        client.write(&first.to_string()).await;
        let asked = client.answer_to(&first["id"]).await;
        let retry = message(&modern, tool, &json!({}), &all(), accepted(&asked));
        client.write(&retry.to_string()).await;
        let done = client.answer_to(&retry["id"]).await;
        assert_eq!(said(&done.message)["result"]["action"], "accept", "{tool}");
    }
    let _ended = client.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_call_goes_on_takes_the_call_back() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    // Its server has the answer, and takes its time.
    let arguments = json!({ "hold": true });
    let asked = call(&client, "web__elicit", &arguments, &all(), Value::Null).await;
    let retry = message(&client, "web__elicit", &arguments, &all(), accepted(&asked));
    let answered = until("the server has the answer", async || {
        if server.received().count("answer") == 1 { Ok(()) } else { Err(server.received().events()) }
    });
    tokio::select! {
        reply = client.send(&retry) => panic!("it has no answer yet: {reply:?}"),
        () = answered => {}
    }
    until("the server is told", async || {
        if server.received().count("cancel") == 1 { Ok(()) } else { Err(server.received().events()) }
    })
    .await;
    until_idle(&fleet).await;
    let last = rows(&fleet, "tools/call", 2).await.remove(1);
    assert_eq!((&last["status"], &last["parent"]), (&json!("cancelled"), &json!(asked.request_id())));
}

#[tokio::test]
async fn a_thousand_calls_wait_no_more_do_and_all_expire_as_configured() {
    let server = http_example(false);
    let more = format!(
        "[gateway]\nmax_in_flight = 4096\nparked_secs = 15\nmax_parked = 1000\n\
         [[backends]]\nname = \"own\"\nurl = \"{}\"\nisolation = \"per-client\"\nmax_instances = 40\n",
        server.url
    );
    let fleet = Fleet::start(Setup::one_plane().toml(&more)).await;
    let mut clients = Vec::new();
    for at in 0..32 {
        clients.push(fleet.modern_client(&format!("client-{at}"), "operator").await);
    }
    let calling = clients.iter().map(async |client| {
        let mut asked = 0;
        for _ in 0..32 {
            let reply = call(client, "own__elicit", &json!({}), &all(), Value::Null).await;
            asked += usize::from(reply.result()["resultType"] == "input_required");
        }
        asked
    });
    let asked: usize = futures_util::future::join_all(calling).await.into_iter().sum();
    assert_eq!(asked, 1000, "24 of 1024 found no room, and went on without an answer");
    let expired = "sentinel_upcalls_total{backend=\"own\",feature=\"elicitation\",status=\"timeout\"}";
    until("all have expired", async || {
        let count = fleet.planes[0].metric(expired).await;
        if count == Some(1000.0) { Ok(()) } else { Err(count) }
    })
    .await;
    until_idle(&fleet).await;
    let _room = question(&call(&clients[0], "own__elicit", &json!({}), &all(), Value::Null).await);
}

//! How a session with such a server is found, made anew, and ended.

use http::Method;
use serde_json::json;

use super::{
    super::{
        PATIENCE, Rig,
        server::{Heard, Reply, Server},
        until,
    },
    Does, Old, on_call,
};
use crate::backend::{State, era::Era, spec::Transport};

#[tokio::test]
async fn a_server_that_takes_no_posts_is_spoken_to_over_its_stream_where_nothing_else_is_configured() {
    for era in [None, Some(Era::Legacy)] {
        let old = Old::start(|_| Does::Good).await;
        let mut rig = old.begun(Transport::Auto, 4 << 20, era);
        rig.listed().await;

        assert_eq!(rig.says(&json!({"n": 1})).await["result"]["structuredContent"]["n"], 1);

        let first: Vec<_> =
            old.server.heard().iter().map(|heard| (heard.http.clone(), heard.method().to_owned())).collect();
        let asked = [(Method::POST, "initialize".to_owned()), (Method::GET, String::new())];
        let asked = if era.is_none() {
            &first[1..3] == asked.as_slice() && first[0].1 == "server/discover"
        } else {
            first[..2] == asked
        };
        assert!(asked, "{first:?}");
    }
}

#[tokio::test]
async fn a_url_where_nothing_is_names_both_tries() {
    for status in [400, 404, 405] {
        let server = Server::start(move |_: &Heard| Reply::Body(status, "text/plain", vec!["no".into()])).await;
        let rig = Rig::start(server.address);

        let status_of = rig.state(State::Down).await;

        let (initialize, get) = (
            format!("it answered initialize with HTTP status {status}"),
            format!("nor does it speak HTTP+SSE: it answered the GET of its event stream with HTTP status {status}"),
        );
        assert!(status_of.reason.contains(&initialize) && status_of.reason.contains(&get), "{}", status_of.reason);
    }
}

#[tokio::test]
async fn other_failures_and_other_configurations_ask_for_no_stream() {
    type Script = fn(&Heard) -> Reply;
    let broken = |_: &Heard| Reply::Body(500, "", vec![]);
    let refuses = |heard: &Heard| {
        let error = json!({"code": -32602, "message": "no such revision"});
        let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error});
        Reply::Body(400, "application/json", vec![body.to_string().into()])
    };
    let absent = |_: &Heard| Reply::Body(404, "", vec![]);
    let scripts: [(Transport, Script, &str); 3] = [
        (Transport::Auto, broken, "HTTP status 500"),
        (Transport::Auto, refuses, "no such revision"),
        (Transport::Streamable, absent, "it answered initialize with HTTP status 404"),
    ];
    for (transport, script, why) in scripts {
        let server = Server::start(script).await;
        let url = format!("http://{}/mcp", server.address);
        let rig = Rig::over(transport, &url, 1 << 20, &super::super::super::tls::settings(None, None).unwrap(), None);

        let status = rig.state(State::Down).await;

        assert!(status.reason.contains(why), "{}", status.reason);
        assert!(server.heard().iter().all(|heard| heard.http == Method::POST));
    }
}

#[tokio::test]
async fn streams_that_end_soon_again_are_made_anew_ever_more_slowly() {
    let old = Old::start(|_| Does::Good).await;
    let mut rig = old.rig().await;
    for sessions in 1..4 {
        until("a session", || (old.sessions() == sessions).then_some(())).await;
        if sessions > 1 {
            rig.listed().await;
        }
        *old.streams.lock().unwrap().last_mut().unwrap() = tokio::sync::mpsc::channel(1).0;
        if sessions == 2 {
            let status = rig.state(State::Down).await;
            assert!(status.reason.contains("its event stream ended"), "{}", status.reason);
            assert!(status.retry_after.is_some());
        }
    }
}

#[tokio::test]
async fn a_restart_makes_a_new_stream_and_calls_on_the_old_one_end_first() {
    let old = Old::start(on_call(|heard| {
        if heard.body["params"]["arguments"]["wait"] == true { Does::Says(vec![]) } else { Does::Good }
    }))
    .await;
    let mut rig = old.rig().await;
    let waiting = rig.call(&json!({"wait": true}));
    let number = waiting.flight.number();
    let restarting = async {
        until("the call", || (old.server.count("tools/call") == 1).then_some(())).await;
        let before = old.streams.lock().unwrap().last().unwrap().clone();
        rig.link.restart();
        until("another session", || (old.server.count("tools/list") == 2).then_some(())).await;
        before
            .try_send(super::super::server::event(&json!({"jsonrpc": "2.0", "id": number, "result": {"n": 1}})))
            .unwrap();
        before
    };
    let (done, before) = tokio::join!(waiting.send(), restarting);

    assert_eq!(done.said()["result"]["n"], 1);
    rig.listed().await;
    rig.says(&json!({})).await;
    tokio::time::timeout(PATIENCE, before.closed()).await.unwrap();
    assert_eq!(rig.link.status().restarts, 1);
}

#[tokio::test]
async fn stop_closes_the_stream_and_leaves_no_task() {
    let old = Old::start(|_| Does::Good).await;
    let rig = old.rig().await;
    rig.says(&json!({})).await;
    let stream = old.streams.lock().unwrap().last().unwrap().clone();

    rig.link.stop().await;

    tokio::time::timeout(PATIENCE, stream.closed()).await.unwrap();
    assert_eq!(rig.link.status().state, State::Stopped);
    assert_eq!(rig.call(&json!({})).send().await.failed().0, "never");
    let Rig { link, tracker, .. } = rig;
    drop(link);
    tracker.close();
    tokio::time::timeout(PATIENCE, tracker.wait()).await.unwrap();
}

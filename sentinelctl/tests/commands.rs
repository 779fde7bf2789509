//! Commands against a fake control plane on a Unix socket: what is printed, and with which exit code they end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::sync::Arc;

use clap::Parser as _;
use sentinel_proto::v1::*;
use sentinelctl::cli::Cli;
use sentinelctl::locate::World;
use sentinelctl::output::{Format, Output};

mod fake;
mod paper;
use fake::{Answers, Home};
use paper::Paper;

struct Ran {
    code: u8,
    out: String,
    err: String,
}

async fn run_in(world: &World, line: &[&str]) -> Ran {
    let cli = Cli::try_parse_from(std::iter::once(&"sentinelctl").chain(line)).unwrap();
    let (out, err) = (Paper::default(), Paper::default());
    let format: Format = cli.output;
    let mut output = Output::to_writers(format, 60, Box::new(out.clone()), Box::new(err.clone()));
    let code = sentinelctl::run(cli, world, &mut output).await;
    Ran { code, out: out.text(), err: err.text() }
}

async fn run(answers: Answers, line: &[&str]) -> Ran {
    let home = Home::new(answers);
    let dir = home.path().to_str().unwrap();
    run_in(&World::made_of(&[]), &[line, &["--data-dir", dir]].concat()).await
}

fn ack(name: &str, acked: bool) -> KillAck {
    KillAck {
        plane_id: format!("id-{name}"),
        plane_name: name.to_owned(),
        acked,
        took_ms: 3,
        last_seen_unix_ms: 1_000_000,
        state: if acked { "connected" } else { "lost" }.to_owned(),
        ..KillAck::default()
    }
}

#[tokio::test]
async fn a_kill_names_each_plane_and_its_time() {
    let asked = Arc::default();
    let kill =
        KillReply { epoch: 7, acks: vec![ack("a", true), ack("b", true)], complete: true, ..KillReply::default() };
    let answers = Answers { kill, asked: Arc::clone(&asked), ..Answers::default() };
    let ran = run(answers, &["kill-switch", "tool", "x__y", "--reason", "leaks"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("a: acknowledged in 3 ms"), "{}", ran.out);
    assert!(ran.out.contains("acknowledged by 2 of 2 planes"), "{}", ran.out);
    let asked: Vec<String> = asked.lock().unwrap().clone();
    assert!(asked[0].contains("leaks") && asked[0].contains("x__y"), "{asked:?}");
}

#[tokio::test]
async fn a_kill_that_one_plane_missed_is_exit_4_with_its_name_and_last_seen() {
    let kill = KillReply { acks: vec![ack("a", true), ack("b", false)], complete: false, ..KillReply::default() };
    let ran = run(Answers { kill: kill.clone(), ..Answers::default() }, &["kill-switch", "all"]).await;
    assert_eq!(ran.code, 4);
    // A long line is broken at spaces.
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("b: not acknowledged, lost, last seen 1970-01-01T00:16:40.000Z"), "{}", ran.out);
    assert!(ran.err.contains("not acknowledged by b"), "{}", ran.err);
    let ran = run(Answers { kill, ..Answers::default() }, &["kill-switch", "all", "--no-wait"]).await;
    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn a_broken_file_is_exit_2_with_every_place() {
    let problem = |line, message: &str| ConfigProblem {
        file: "sentinel.toml".to_owned(),
        line,
        col: 4,
        message: message.to_owned(),
    };
    let publish =
        PublishReply { problems: vec![problem(3, "no; do"), problem(9, "bad; mend")], ..PublishReply::default() };
    let ran = run(Answers { publish, ..Answers::default() }, &["reload"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("sentinel.toml:3:4: no; do\nsentinel.toml:9:4: bad; mend\n"), "{}", ran.err);
}

#[tokio::test]
async fn a_reload_is_done_only_when_applied_everywhere() {
    let plane = |name: &str, outcome: &str| PlaneOutcome {
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        ..PlaneOutcome::default()
    };
    let publish = |outcome: &str| PublishReply {
        published: outcome != "silent",
        revision: 8,
        planes: vec![plane("a", "applied"), plane("b", outcome)],
        ..PublishReply::default()
    };
    let answers = |outcome: &str| Answers { publish: publish(outcome), ..Answers::default() };
    let done = run(answers("applied"), &["reload"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("revision 8"), "{}", done.out);
    let silent = run(answers("silent"), &["reload"]).await;
    assert_eq!(silent.code, 4);
    assert!(silent.err.contains("nothing was changed: b"), "{}", silent.err);
    assert_eq!(run(answers("skipped"), &["reload", "--skip-unresponsive"]).await.code, 0);
}

#[tokio::test]
async fn audit_rows_are_one_json_array() {
    let row = AuditRow {
        request_id: "r1".to_owned(),
        ts_unix_us: 1_500_000,
        arguments: "{\"a\":1}".to_owned(),
        client: "eve\u{202e}\u{1b}[2J".to_owned(),
        ..AuditRow::default()
    };
    let audit = AuditListReply { rows: vec![row], more: true };
    let answers = Answers { audit, ..Answers::default() };
    let ran = run(answers.clone(), &["audit", "list", "--output", "json", "--since", "2h"]).await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["request_id"], "r1");
    assert_eq!(value[0]["arguments"]["a"], 1);
    assert_eq!(value[0]["ts"], "1970-01-01T00:00:01.500000Z");
    assert!(!ran.out.contains(['\u{202e}', '\u{1b}']), "{:?}", ran.out);
    let table = run(answers, &["audit", "list"]).await;
    assert!(!table.out.contains(['\u{202e}', '\u{1b}']), "{:?}", table.out);
    assert!(table.err.contains("there are more"), "{}", table.err);
}

#[tokio::test]
async fn tables_keep_to_the_width_of_the_terminal() {
    let health = BackendHealth {
        name: "sqlite".to_owned(),
        state: "backoff".to_owned(),
        tools: 7,
        reason: "died again ".repeat(20),
        ..BackendHealth::default()
    };
    let plane = PlaneState {
        name: "a-plane".to_owned(),
        state: "connected".to_owned(),
        id: "i".repeat(36),
        ..PlaneState::default()
    };
    let status = StatusReply {
        planes: vec![plane],
        backends: vec![PlaneBackend { health: Some(health), ..PlaneBackend::default() }],
        config_state: "ok".to_owned(),
        ..StatusReply::default()
    };
    let ran = run(Answers { status, ..Answers::default() }, &["status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.lines().filter(|line| !line.starts_with("  sqlite")).all(|line| line.chars().count() <= 60),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn refusals_of_the_control_plane_keep_their_exit_codes() {
    for (code, exit) in [(tonic::Code::InvalidArgument, 2), (tonic::Code::Aborted, 4), (tonic::Code::Internal, 1)] {
        let answers = Answers { refuse: Some((code, "because of this".to_owned())), ..Answers::default() };
        let ran = run(answers, &["kill-switch", "role", "r"]).await;
        assert_eq!((ran.code, ran.err.as_str()), (exit, "because of this\n"));
    }
}

#[tokio::test]
async fn nobody_there_is_exit_3_and_names_each_place() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let world = World::made_of(&[("XDG_RUNTIME_DIR", &at("run")), ("XDG_STATE_HOME", &at("state"))]);
    let ran = run_in(&world, &["plane", "list"]).await;
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.contains(&at("run/sentinel.json")) && ran.err.contains(&at("state/sentinel/controlplane/grpc.sock")),
        "{}",
        ran.err
    );
    let ran = run_in(&world, &["plane", "list", "--endpoint", "unix:/nowhere/s"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("--endpoint") && ran.err.contains("unix:/nowhere/s"), "{}", ran.err);
    assert_eq!(run_in(&world, &["plane", "list", "--endpoint", "ftp://x"]).await.code, 2);
    let clear = run_in(&world, &["plane", "list", "--endpoint", "http://192.0.2.1:9300"]).await;
    assert_eq!(clear.code, 2, "{}", clear.err);
}

#[tokio::test]
async fn the_pointer_of_up_leads_to_the_control_plane() {
    let home = Home::new(Answers::default());
    let up = home.join("controlplane/up.json");
    let endpoint = format!("unix:{}", home.join("controlplane/grpc.sock").display());
    let text = |pid: u32| {
        serde_json::json!({ "pid": pid, "endpoint": endpoint, "data_dir": home.path(), "since": "" }).to_string()
    };
    std::fs::write(&up, text(std::process::id())).unwrap();
    std::fs::write(home.join("sentinel.json"), serde_json::json!({ "up": up }).to_string()).unwrap();
    let world = World::made_of(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]);
    let ran = run_in(&world, &["plane", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    std::fs::write(&up, text(i32::MAX.unsigned_abs())).unwrap();
    let ran = run_in(&world, &["plane", "list"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("is gone"), "{}", ran.err);
}

#[tokio::test]
async fn a_wrong_admin_token_is_refused_and_a_missing_one_is_exit_3() {
    let home = Home::new(Answers::default());
    let dir = home.path().to_str().unwrap();
    let ran =
        run_in(&World::made_of(&[("SENTINEL_ADMIN_TOKEN", "other")]), &["plane", "list", "--data-dir", dir]).await;
    assert_eq!(ran.code, 4, "{}", ran.err);
    std::fs::remove_file(home.join("admin.token")).unwrap();
    let ran = run_in(&World::made_of(&[]), &["plane", "list", "--data-dir", dir]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("admin.token"), "{}", ran.err);
}

fn stage(name: &str, verdict: &str, why: &str, line: u32) -> ExplainStage {
    let file = if line == 0 { String::new() } else { "sentinel.toml".to_owned() };
    let rules = vec![RulePlace { rule: "roles.analyst.deny[0]".to_owned(), file, line }];
    ExplainStage { stage: name.to_owned(), verdict: verdict.to_owned(), why: why.to_owned(), rules }
}

#[tokio::test]
async fn what_a_call_was_is_told_without_its_escapes_and_its_json_holds_them() {
    let name = "odd\u{1b}[31m\u{202e}name";
    let row = AuditRow { request_id: "id".to_owned(), client: name.to_owned(), ..AuditRow::default() };
    let call = ExplainedCall {
        row: Some(row),
        outcome: format!("refused for {name}"),
        stages: vec![stage("visible", "refused", name, 12), stage("rules", "not_reached", "", 0)],
        error: Some(ToldError { code: -32602, message: format!("no {name}"), data: "{\"kind\":\"x\"}".to_owned() }),
        notes: vec![format!("note of {name}")],
        ..ExplainedCall::default()
    };
    let answers = Answers { explained: ExplainCallReply { calls: vec![call] }, ..Answers::default() };

    let shown = run(answers.clone(), &["explain", "id"]).await;
    let json = run(answers, &["explain", "id", "--output", "json"]).await;

    assert_eq!((shown.code, json.code), (0, 0), "{} {}", shown.err, json.err);
    assert!(!shown.out.contains(['\u{1b}', '\u{202e}']) && !shown.err.contains('\u{1b}'), "{}", shown.out);
    assert!(shown.out.contains("reached") && shown.out.contains("-32602 no odd"), "{}", shown.out);
    assert!(shown.out.lines().all(|line| line.chars().count() <= 60 || line.contains("odd")), "{}", shown.out);
    let told: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["call"]["client"], name);
    let rule = serde_json::json!({ "rule": "roles.analyst.deny[0]", "file": "sentinel.toml", "line": 12 });
    assert_eq!(told["stages"][0]["rules"][0], rule);
    assert_eq!(told["stages"][1]["rules"][0]["line"], serde_json::Value::Null);
    assert_eq!(told["error"]["data"]["kind"], "x");
}

#[tokio::test]
async fn planes_that_say_the_same_are_told_once_and_one_that_is_silent_by_name() {
    let plane = |name: &str, kind: &str| Foretold {
        plane_name: name.to_owned(),
        kind: kind.to_owned(),
        stages: vec![stage("visible", "refused", "why", 3)],
        ..Foretold::default()
    };
    let silent = Foretold { plane_name: "p3".to_owned(), problem: "did not answer".to_owned(), ..Foretold::default() };
    let planes = vec![plane("p1", "hidden_tool"), plane("p2", "hidden_tool"), silent.clone()];
    let ask = ExplainedAsk { client: "c".to_owned(), tool: "t".to_owned(), planes, ..ExplainedAsk::default() };
    let none = ExplainedAsk { planes: vec![silent], ..ask.clone() };
    let answers = |ask| Answers { foretold: ExplainAskReply { asks: vec![ask] }, ..Answers::default() };
    let line = ["explain", "--client", "c", "--tool", "t"];

    let ran = run(answers(ask), &line).await;
    let nobody = run(answers(none), &line).await;

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("as of now on p1, p2") && ran.out.contains("p3: did not answer"), "{}", ran.out);
    assert_eq!(ran.out.matches("would be refused (hidden_tool)").count(), 1, "{}", ran.out);
    assert_eq!(nobody.code, 1, "{}", nobody.out);
}

//! How processes end, and that nothing of them is left.

use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Rig, SPAWNER, Spec, lives, pid_in, until};
use crate::{
    backend::{
        Sent, State,
        stdio::{
            cgroup::Limits,
            spawner::{Plan, Spawner},
            strays,
        },
    },
    denial::Failure,
};

/// Set in a process that is to be a plane which dies: a folder for the pids.
const PARENT: &str = "SENTINEL_TEST_PARENT";

#[tokio::test]
async fn a_killed_process_answers_all_thirty_two_in_flight_at_once_and_is_started_again() {
    let rig = Rig::ready(&Spec::default()).await;
    let tracker = TaskTracker::new();
    let calls: Vec<_> = (0..32).map(|_| rig.call("hold", &json!({})).spawn(&tracker)).collect();
    rig.says("echo", json!({})).await;
    let (pid, begin) = (rig.pid(), Instant::now());
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    for call in calls {
        let done = call.await.unwrap();
        assert!(
            done.was_sent
                && matches!(&done.sent, Sent::Failed(Failure::BackendError { what, .. }) if what == "its process died"),
            "{:?}",
            done.sent
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // A call meanwhile waits up to 2 s for the restart, because the backend was ready before.
    let begin = Instant::now();
    let done = rig.call("echo", &json!(1)).send().await;
    let waited = begin.elapsed() >= Duration::from_secs(2);
    assert!(matches!(&done.sent, Sent::Answered(_)) || waited, "{:?} after {:?}", done.sent, begin.elapsed());
    rig.is(State::Ready).await;
    assert!(rig.pid() != pid && rig.link.status().restarts >= 1);
}

#[tokio::test]
async fn an_answer_that_was_written_before_death_still_arrives() {
    let rig = Rig::ready(&Spec { restart_on_exit: false, ..Spec::default() }).await;
    let tracker = TaskTracker::new();
    let held = rig.call("hold", &json!({})).spawn(&tracker);
    rig.says("echo", json!({})).await;
    // Polled in this order, so written in this order.
    let (released, exit) = tokio::join!(rig.call("release", &json!({})).send(), rig.call("exit", &json!({})).send());
    assert!(matches!(exit.sent, Sent::Failed(_)), "{:?}", exit.sent);
    assert_eq!(held.await.unwrap().said(), json!(0));
    assert_eq!(released.said()["held"], json!(1));
    let status = rig.is(State::Stopped).await;
    assert!(status.reason.contains("status 3") && status.reason.contains("restart_on_exit"), "{}", status.reason);
    assert!(rig.link.stderr().contains(&"about to exit".to_owned()));
}

#[tokio::test]
async fn a_polite_process_ends_when_its_stdin_is_closed() {
    let rig = Rig::ready(&Spec::default()).await;
    let (pid, begin) = (rig.pid(), Instant::now());
    rig.link.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(2) && strays::look(pid).is_none());
    assert_eq!(rig.link.status().state, State::Stopped);
    let done = rig.call("echo", &json!({})).send().await;
    assert!(matches!(done.sent, Sent::Never(Failure::BackendUnavailable { .. })) && !done.was_sent);
}

#[tokio::test]
async fn the_ladder_ends_what_ignores_stdin_and_sigterm_and_whoever_left_the_group() {
    let rig = Rig::ready(&Spec { mode: "stubborn", ..Spec::default() }).await;
    let pids = [
        rig.pid(),
        pid_in(&rig.directory.path().join("stays")).await,
        pid_in(&rig.directory.path().join("leaves")).await,
    ];
    assert!(pids.iter().all(|&pid| lives(pid) && SPAWNER.owns(pid)));
    let begin = Instant::now();
    rig.link.stop().await;
    assert!(pids.iter().all(|&pid| !lives(pid)), "{pids:?}");
    assert!((Duration::from_secs(5)..Duration::from_secs(10)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    // Orphans came to us, and do not stay zombies.
    until("no zombies", || async { pids.iter().all(|&pid| strays::look(pid).is_none()).then_some(()) }).await;
}

/// Neither its group nor its environment tells whose it is.
async fn hidden(rig: &Rig) -> i32 {
    assert_eq!(rig.says("hide", json!({})).await, json!("hidden"));
    let pid = pid_in(&rig.directory.path().join("hidden")).await;
    until("another program in its place", || async { (strays::marker_of(pid).is_none()).then_some(()) }).await;
    assert!(strays::look(pid).is_some_and(|seen| seen.group != rig.pid()));
    pid
}

#[tokio::test]
async fn a_control_group_ends_who_left_the_process_group_and_cleared_its_environment() {
    let rig = Rig::ready(&Spec::default()).await;
    if SPAWNER.groups().leaves().is_none() {
        println!("not run: this machine lets us make no control groups");
        return;
    }
    let pid = hidden(&rig).await;
    rig.link.stop().await;
    assert!(!lives(pid), "it is ended before the link says that nothing is left");
}

#[tokio::test]
async fn a_dead_leader_takes_its_tree_along_before_it_is_started_again() {
    let rig = Rig::ready(&Spec { mode: "tree", restart_on_exit: false, ..Spec::default() }).await;
    let pids = [pid_in(&rig.directory.path().join("stays")).await, pid_in(&rig.directory.path().join("leaves")).await];
    kill(Pid::from_raw(rig.pid()), Signal::SIGKILL).unwrap();
    let status = rig.is(State::Stopped).await;
    assert!(status.reason.contains("SIGKILL") && pids.iter().all(|&pid| !lives(pid)), "{}", status.reason);
}

#[tokio::test]
async fn a_dropped_link_leaves_nothing() {
    let rig = Rig::ready(&Spec::default()).await;
    let pid = rig.pid();
    drop(rig);
    until("its end", || async { (!lives(pid)).then_some(()) }).await;
}

#[test]
fn a_dead_reaper_is_replaced() {
    let spawner = Spawner::start(Uuid::now_v7(), Uuid::now_v7()).unwrap();
    let first = spawner.reaper_pid();
    kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(until("another reaper", || async { (spawner.reaper_pid() != first).then_some(()) }));
    assert!(lives(i32::try_from(spawner.reaper_pid()).unwrap()));
}

/// Not a test of its own: in a process that was started as such, this is a plane with a tree of children, to be
/// killed.
#[tokio::test]
async fn a_plane_to_be_killed_runs_only_when_it_is_asked_to() {
    let Some(directory) = std::env::var_os(PARENT) else {
        return;
    };
    let (plane, boot) = (std::env::var("PLANE").unwrap(), Uuid::now_v7());
    let spawner = Spawner::start(plane, boot).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/stdio/tests/child.py");
    let args = [script, "stubborn", directory.to_str().unwrap()].map(Into::into);
    let plan = Plan {
        backend: "tree",
        command: "python3",
        args: &args,
        env: &[],
        cwd: None,
        limits: Limits::default(),
        user: None,
        sandbox: None,
    };
    let (process, _pipes) = spawner.spawn(plan).await.unwrap();
    process.exited().await;
}

/// Starts a plane with a tree of children and kills it; the pids of the tree.
async fn killed_plane(plane: Uuid, directory: &std::path::Path, with_reaper: bool) -> [i32; 2] {
    let name = "backend::stdio::tests::ending::a_plane_to_be_killed_runs_only_when_it_is_asked_to";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(PARENT, directory).env("PLANE", plane.to_string());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).process_group(0);
    let mut parent = {
        let mut forked = crate::backend::stdio::forked::forked();
        let parent = command.spawn().unwrap();
        forked.insert(i32::try_from(parent.id()).unwrap());
        parent
    };
    let pids = [pid_in(&directory.join("stays")).await, pid_in(&directory.join("leaves")).await];
    let parent_pid = i32::try_from(parent.id()).unwrap();
    if !with_reaper {
        // Its reaper is its only child in a session of its own; stopped first, it can't replace it any more.
        kill(Pid::from_raw(parent_pid), Signal::SIGSTOP).unwrap();
        for child in
            strays::all().iter().filter(|seen| seen.parent == parent_pid && strays::marker_of(seen.pid).is_none())
        {
            child.signal(Signal::SIGKILL);
        }
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    pids
}

#[tokio::test]
async fn the_reaper_ends_the_whole_tree_of_a_killed_plane() {
    let (plane, directory) = (Uuid::now_v7(), tempfile::tempdir().unwrap());
    let pids = killed_plane(plane, directory.path(), true).await;
    let is_gone = || async {
        let left = strays::marked(|value| value.starts_with(&plane.to_string()));
        (left.is_empty() && pids.iter().all(|&pid| !lives(pid))).then_some(())
    };
    tokio::time::timeout(Duration::from_secs(5), until("the end of the tree", is_gone)).await.unwrap();
}

#[tokio::test]
async fn the_next_start_of_a_plane_ends_what_a_killed_one_left_where_no_reaper_did() {
    let (plane, directory) = (Uuid::now_v7(), tempfile::tempdir().unwrap());
    let pids = killed_plane(plane, directory.path(), false).await;
    // Its own child, which hears neither TERM nor the end of stdin, was ended by the kernel: the parent-death signal.
    let left = || async {
        let mut left: Vec<i32> =
            strays::marked(|value| value.starts_with(&plane.to_string())).iter().map(|seen| seen.pid).collect();
        left.sort_unstable();
        let mut pids = pids;
        pids.sort_unstable();
        (left == pids).then_some(())
    };
    until("the end of the child itself", left).await;
    assert!(pids.iter().all(|&pid| lives(pid)));
    let _other = Spawner::start(Uuid::now_v7(), Uuid::now_v7()).unwrap();
    assert!(pids.iter().all(|&pid| lives(pid)), "another plane's start is no concern of theirs");
    let _next = Spawner::start(plane, Uuid::now_v7()).unwrap();
    until("the end of the strays", || async { pids.iter().all(|&pid| !lives(pid)).then_some(()) }).await;
}

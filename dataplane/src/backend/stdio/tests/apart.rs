//! Children that are set apart: as another user, and in a sandbox. What they can reach is asked of themselves.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::json;

use super::{Rig, Spec, lives, until};
use crate::backend::{
    State,
    stdio::{
        apart::{Sandbox, User},
        strays,
    },
};

/// The system's own: one that a user installed for himself is out of reach, which is the point.
const PYTHON: &str = "/usr/bin/python3";

/// None, and said so: this machine can't show it.
fn nobody() -> Option<User> {
    if !geteuid().is_root() {
        println!("not run: only root starts children as another user");
        return None;
    }
    Some(User::find("nobody").unwrap())
}

fn sandbox(network: bool) -> Option<Sandbox> {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/stdio/tests");
    let bwrap = PathBuf::from("/usr/bin/bwrap");
    let sandbox = Sandbox { bwrap, network, read: vec![scripts.into()], write: Vec::new() };
    match sandbox.try_out(None) {
        Ok(()) => Some(sandbox),
        Err(why) => {
            println!("not run: {why}");
            None
        }
    }
}

fn secret(rig: &Rig) -> String {
    let path = rig.directory.path().join("secret");
    std::fs::write(&path, "the plane's").unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn another_user_reads_nothing_of_ours_and_dies_with_us_all_the_same() {
    let Some(user) = nobody() else { return };
    let rig = Rig::ready(&Spec { user: Some(user.clone()), command: PYTHON, ..Spec::default() }).await;
    let secret = secret(&rig);
    let seen = rig.says("look", json!({ "read": [secret], "write": [secret] })).await;
    assert_eq!(
        (&seen["uid"], &seen["gid"], &seen["groups"]),
        (&json!(user.uid), &json!(user.gid), &json!(user.groups))
    );
    assert_eq!((&seen[&secret], &seen["home"], &seen["cwd"]), (&json!("Permission denied"), &json!("/"), &json!("/")));
    assert_eq!(seen["death_signal"], Signal::SIGKILL as i32, "the kernel takes it from who becomes another");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "the plane's");
    let pid = rig.pid();
    rig.link.stop().await;
    assert!(!lives(pid));
}

#[test]
fn a_user_that_is_not_there_is_named() {
    let why = User::find("no-such-user").unwrap_err();
    assert!(why.contains("there is no user no-such-user"), "{why}");
    assert!(User::find("0").unwrap_err().contains("root"), "by number as well");
}

#[tokio::test]
async fn in_a_sandbox_there_are_programs_its_own_folder_and_nothing_of_ours() {
    let Some(sandbox) = sandbox(false) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rig = Rig::ready(&Spec { sandbox: Some(sandbox), command: PYTHON, ..Spec::default() }).await;
    let (secret, own) = (secret(&rig), rig.directory.path().join("child").display().to_string());
    let file = format!("{own}/kept");
    let read = [&secret, "/root", "/home", "/etc/shadow", "/var/lib", "/tmp"];
    let seen = rig.says("look", json!({ "read": read, "write": [file, "/usr/x"], "port": port })).await;
    for hidden in [&secret, "/root", "/home", "/etc/shadow", "/var/lib"] {
        assert_eq!(seen[hidden], "FileNotFoundError", "{hidden}: {seen}");
    }
    // What holds its own folder is there, and holds nothing else.
    let tmp = seen["/tmp"].as_array().unwrap_or_else(|| panic!("{seen}"));
    assert_eq!(tmp.len(), 1, "{seen}");
    assert_eq!((&seen["cwd"], &seen["home"], &seen[&file]), (&json!(own), &json!(own), &json!("written")));
    assert_eq!(seen["/usr/x"], "Read-only file system", "{seen}");
    assert_eq!(seen["network"], false, "{seen}");
    assert!(seen["processes"].as_u64().unwrap() <= 3, "it sees processes that are not its own: {seen}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "written", "it is kept outside");
}

#[tokio::test]
async fn a_sandbox_shares_the_network_when_it_is_told_to_and_ends_whole() {
    let Some(sandbox) = sandbox(true) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rig = Rig::ready(&Spec { sandbox: Some(sandbox), command: PYTHON, ..Spec::default() }).await;
    assert_eq!(rig.says("look", json!({ "port": port })).await["network"], true);

    let inside =
        || strays::all().into_iter().filter(|seen| seen.parent == rig.pid()).map(|seen| seen.pid).collect::<Vec<_>>();
    let (outer, inner) = (rig.pid(), inside());
    assert!(!inner.is_empty(), "bwrap stays outside of what it started");
    kill(Pid::from_raw(outer), Signal::SIGKILL).unwrap();
    until("the end of what was inside", || async { inner.iter().all(|&pid| !lives(pid)).then_some(()) }).await;
    until("another", || async { (rig.is(State::Ready).await.pid != outer.unsigned_abs()).then_some(()) }).await;
    let (outer, inner) = (rig.pid(), inside());
    rig.link.stop().await;
    assert!(!lives(outer) && inner.iter().all(|&pid| !lives(pid)));
}

#[tokio::test]
async fn a_sandbox_and_another_user_together() {
    let (Some(sandbox), Some(user)) = (sandbox(false), nobody()) else { return };
    if let Err(why) = sandbox.try_out(Some(&user)) {
        println!("not run: {why}");
        return;
    }
    let rig =
        Rig::ready(&Spec { sandbox: Some(sandbox), user: Some(user.clone()), command: PYTHON, ..Spec::default() })
            .await;
    let secret = secret(&rig);
    let seen = rig.says("look", json!({ "read": [secret] })).await;
    assert_eq!((&seen["uid"], &seen[&secret]), (&json!(user.uid), &json!("FileNotFoundError")), "{seen}");
}

#[test]
fn a_sandbox_that_cannot_be_had_says_why() {
    let absent = Sandbox { bwrap: "/no/such/bwrap".into(), network: true, read: Vec::new(), write: Vec::new() };
    assert!(absent.try_out(None).unwrap_err().contains("/no/such/bwrap can't be started"));
    let folder = tempfile::tempdir().unwrap();
    let refusing = folder.path().join("bwrap");
    std::fs::write(&refusing, "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&refusing, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let why = Sandbox { bwrap: refusing, ..absent }.try_out(None).unwrap_err();
    assert!(why.contains("No permissions to create new namespace") && why.contains("RestrictNamespaces"), "{why}");
}

#[tokio::test]
async fn what_a_sandbox_says_when_its_program_is_not_inside_is_kept_for_the_operator() {
    let Some(sandbox) = sandbox(false) else { return };
    let sandbox = Sandbox { read: Vec::new(), ..sandbox };
    let rig =
        Rig::start(&Spec { sandbox: Some(sandbox), command: "/no/such/program", max_restarts: 0, ..Spec::default() });
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("status 1"), "{}", status.reason);
    until("its words", || async {
        rig.link.stderr().iter().any(|line| line.contains("/no/such/program")).then_some(())
    })
    .await;
    let begun = tokio::time::Instant::now();
    rig.link.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(6));
}

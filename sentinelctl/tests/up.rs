//! `sentinelctl up` as a program, with shell scripts for daemons and a fake control plane behind its socket: order of
//! starting and ending, what is left behind, what a daemon that dies leads to.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sentinel_proto::v1::{PlaneState, StatusReply};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

mod fake;
use fake::{Answers, Home};

/// Writes its pid, waits for SIGTERM, notes its end; `$0` and `--data-dir` tell it where.
const DAEMON: &str = "#!/bin/sh
name=$(basename \"$0\"); dir=$(dirname \"$0\")
echo \"$@\" > \"$dir/$name.args\"
env | grep ^SENTINEL_ > \"$dir/$name.env\"
trap 'echo \"$name\" >> \"$dir/ended\"; exit 0' TERM
trap 'echo hup >> \"$dir/$name.hup\"' HUP
echo \"$name says hello\" >&2
echo $$ > \"$dir/$name.pid\"
while :; do sleep 0.05; done
";

struct Stage {
    home: Home,
    bin: PathBuf,
}

impl Stage {
    fn new(control: &str, plane: &str) -> Self {
        let planes = vec![PlaneState {
            state: "connected".to_owned(),
            listen: "127.0.0.1:1".to_owned(),
            ..PlaneState::default()
        }];
        let home =
            Home::new(Answers { status: StatusReply { planes, ..StatusReply::default() }, ..Answers::default() });
        let bin = home.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_sentinelctl"), bin.join("sentinelctl")).unwrap();
        for (name, script) in [("sentinel-controlplane", control), ("sentinel-dataplane", plane)] {
            std::fs::write(bin.join(name), script).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(home.join("sentinel.toml"), "[auth]\n[roles.boss]\nallow = [\"*\"]\n").unwrap();
        Self { home, bin }
    }

    fn up(&self) -> Child {
        let mut command = Command::new(self.bin.join("sentinelctl"));
        command.arg("up").arg("--data-dir").arg(self.home.path()).arg("--config").arg(self.home.join("sentinel.toml"));
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--controlplane-ops-listen",
            "127.0.0.1:0",
        ]);
        command.env_remove("XDG_RUNTIME_DIR").env("SENTINEL_ADMIN_TOKEN", fake::TOKEN);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    async fn text(&self, name: &str) -> String {
        let path = self.bin.join(name);
        until(|| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
        std::fs::read_to_string(&path).unwrap()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it did not come to pass within 20 s");
}

/// Reads stdout to the end of the message.
async fn message(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push_str(&line);
            text.push('\n');
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("no message within 30 s");
    text
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Gone, or a zombie that nobody has collected yet.
fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test]
async fn sigterm_ends_the_plane_first_and_leaves_nothing_behind() {
    let stage = Stage::new(DAEMON, DAEMON);
    let mut up = stage.up();
    let said = message(&mut up).await;
    assert!(said.contains("http://127.0.0.1:1/mcp") && said.contains("no token could be minted"), "{said}");
    assert!(stage.home.join("controlplane/up.json").exists());
    let plane = stage.text("sentinel-dataplane.args").await;
    assert!(plane.contains("--control-plane unix:") && plane.contains("--listen 127.0.0.1:0"), "{plane}");
    assert!(stage.text("sentinel-controlplane.env").await.contains("SENTINEL_ADMIN_TOKEN"));
    let env = std::fs::read_to_string(stage.bin.join("sentinel-dataplane.env")).unwrap();
    assert!(!env.contains("SENTINEL_ADMIN_TOKEN"), "{env}");
    let pid = up.id().unwrap();
    signal(pid, Signal::SIGHUP);
    assert_eq!(stage.text("sentinel-controlplane.hup").await, "hup\n");
    assert!(!stage.bin.join("sentinel-dataplane.hup").exists());
    signal(pid, Signal::SIGTERM);
    assert_eq!(up.wait().await.unwrap().code(), Some(0));
    assert_eq!(stage.text("ended").await, "sentinel-dataplane\nsentinel-controlplane\n");
    assert!(!stage.home.join("controlplane/up.json").exists());
}

#[tokio::test]
async fn a_second_up_on_the_same_directory_is_one_sentence() {
    let stage = Stage::new(DAEMON, DAEMON);
    let mut first = stage.up();
    stage.text("sentinel-controlplane.pid").await;
    let second = stage.up().wait_with_output().await.unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("already runs on {} (process {}", stage.home.path().display(), first.id().unwrap())),
        "{said}"
    );
    signal(first.id().unwrap(), Signal::SIGINT);
    assert_eq!(first.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_daemon_that_keeps_dying_ends_all_with_its_last_lines() {
    let stage = Stage::new(DAEMON, "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 1\n");
    let ended = stage.up().wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the data plane died 5 times within a minute") && said.contains("\n  the disk is on fire"),
        "{said}"
    );
    assert_eq!(stage.text("ended").await, "sentinel-controlplane\n");
}

#[tokio::test]
async fn a_configuration_that_is_refused_ends_all_at_once_with_exit_2() {
    let stage = Stage::new("#!/bin/sh\necho 'sentinel.toml:1:1: no' >&2\nexit 2\n", DAEMON);
    let ended = stage.up().wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("sentinel.toml:1:1: no") && !said.contains("started again"), "{said}");
}

#[tokio::test]
async fn a_plane_that_dies_over_its_spool_starts_with_the_spool_set_aside() {
    let plane = format!(
        "#!/bin/sh\nif [ -e \"$(dirname \"$0\")/../plane/spool\" ]; then echo 'ERROR spool: frame 7 is corrupt' >&2; exit 1; fi\n{}",
        DAEMON.trim_start_matches("#!/bin/sh\n")
    );
    let stage = Stage::new(DAEMON, &plane);
    std::fs::create_dir_all(stage.home.join("plane/spool")).unwrap();
    std::fs::write(stage.home.join("plane/spool/1.log"), "x").unwrap();
    let mut up = stage.up();
    stage.text("sentinel-dataplane.pid").await;
    let names: Vec<String> = std::fs::read_dir(stage.home.join("plane"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("spool.aside-")), "{names:?}");
    signal(up.id().unwrap(), Signal::SIGTERM);
    assert_eq!(up.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn killed_outright_it_takes_the_daemons_along_where_setpriv_is_there() {
    if !Path::new("/usr/bin/setpriv").exists() {
        return; // `up` itself says so then
    }
    let stage = Stage::new(DAEMON, DAEMON);
    let mut up = stage.up();
    let pids = [stage.text("sentinel-controlplane.pid").await, stage.text("sentinel-dataplane.pid").await];
    signal(up.id().unwrap(), Signal::SIGKILL);
    up.wait().await.unwrap();
    until(|| pids.iter().all(|pid| is_gone(pid))).await;
}

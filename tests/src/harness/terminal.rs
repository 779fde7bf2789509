//! A program on a terminal: two pseudo terminals of so many columns, one for results and one for notes, what it showed
//! on each and how it ended.
//!
//! `setsid` (util-linux) makes the first its controlling terminal, so that Ctrl-C is what a person's Ctrl-C is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc;

use nix::pty::{OpenptyResult, Winsize, openpty};

use super::process::Start;
use super::until::DEADLINE;

/// What a program showed until its end.
#[derive(Clone, Debug)]
pub struct Shown {
    /// None: ended by a signal.
    pub code: Option<i32>,
    /// As the terminals got it, escapes and all, with plain line ends.
    pub out: String,
    pub err: String,
}

/// A piece of one of the terminals.
enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// One of them is closed on the other side.
    End,
}

/// Runs it to its end. `until`: once this is shown, Ctrl-C is typed.
#[must_use]
pub fn shown(start: &Start, columns: u16, until: Option<&str>) -> Shown {
    let (out, err) = (terminal(columns), terminal(columns));
    let mut typing = File::from(out.master.try_clone().unwrap());
    let (say, heard) = mpsc::sync_channel(64);
    read(out.master, say.clone(), Piece::Out);
    read(err.master, say, Piece::Err);
    let program = start.command();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(&start.folder).env_clear();
    let ours = |name: &str| name.starts_with("SENTINEL_") || ["NO_COLOR", "COLUMNS", "LINES"].contains(&name);
    command.envs(std::env::vars_os().filter(|(name, _)| !ours(&name.to_string_lossy())));
    command.env("TERM", "xterm-256color").envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(out.slave.try_clone().unwrap()).stdout(out.slave).stderr(err.slave);
    let child = command.spawn().unwrap();
    // What it keeps of the terminals has to go, else they never end.
    drop(command);
    listen(child, &heard, until, &mut typing)
}

fn listen(mut child: Child, heard: &mpsc::Receiver<Piece>, until: Option<&str>, typing: &mut File) -> Shown {
    let (mut out, mut err, mut ends, mut typed) = (Vec::new(), Vec::new(), 0, false);
    while ends < 2 {
        match heard.recv_timeout(DEADLINE) {
            Ok(Piece::Out(piece)) => out.extend(piece),
            Ok(Piece::Err(piece)) => err.extend(piece),
            Ok(Piece::End) => ends += 1,
            Err(_) => {
                let _gone = child.kill().is_err();
                panic!("it neither ends nor says anything: {} {}", text(&out), text(&err));
            }
        }
        if !typed && until.is_some_and(|until| text(&out).contains(until) || text(&err).contains(until)) {
            typing.write_all(b"\x03").unwrap();
            typed = true;
        }
    }
    Shown { code: child.wait().unwrap().code(), out: text(&out), err: text(&err) }
}

fn terminal(columns: u16) -> OpenptyResult {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    openpty(&size, None).unwrap()
}

fn read(master: std::os::fd::OwnedFd, say: mpsc::SyncSender<Piece>, piece: fn(Vec<u8>) -> Piece) {
    let mut master = File::from(master);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Its other side closed is an error here, and the end.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if say.send(piece(buffer[..count].to_vec())).is_err() {
                return;
            }
        }
        let _heard = say.send(Piece::End).is_ok();
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
}

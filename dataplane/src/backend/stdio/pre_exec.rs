//! What a child does to itself between fork and exec. The one file with `unsafe` in this workspace.
//!
//! Only system calls: no allocation, no lock, no formatting, since another thread may have held any lock when we
//! forked. The process group, the signal mask and the pipes are std's business (`Command::process_group`).
#![expect(unsafe_code, reason = "std has no safe way to the parent-death signal, to limits and to setsid in the child")]

use std::{fs::File, io, os::unix::process::CommandExt as _, process::Command};

use nix::{
    libc,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, getppid, setgid, setgroups, setsid, setuid, write},
};

use super::apart::User;

/// Open files of a child; plenty for a server, and a bound for one that leaks.
const OPEN_FILES: u64 = 4096;

/// The child joins the control group behind `door`, becomes `user`, dies with the thread that forks it, gains no privileges, leaves no
/// core, and inherits only 0 to 2. `parent` is the forking process: a child whose parent died before the death signal was set ends itself.
pub(super) fn contain(command: &mut Command, parent: libc::pid_t, door: Option<File>, user: Option<&User>) {
    let ids = user.map(|user| {
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
    });
    let step = move || -> io::Result<()> {
        if let Some(door) = &door {
            write(door, b"0")?;
        }
        if let Some((uid, gid, groups)) = &ids {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        // After that: who becomes another loses his death signal.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid().as_raw() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        prctl::set_no_new_privs()?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let files = most.min(OPEN_FILES);
        setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
        close_the_rest();
        Ok(())
    };
    // SAFETY: the closure makes system calls only and touches no memory but what it captured.
    unsafe { command.pre_exec(step) };
}

/// The child leaves our session, so that a signal to our group or terminal misses it. It is meant to outlive us.
pub(super) fn outlive(command: &mut Command) {
    let step = || -> io::Result<()> {
        setsid()?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        close_the_rest();
        Ok(())
    };
    // SAFETY: the closure makes system calls only and captures nothing.
    unsafe { command.pre_exec(step) };
}

/// Marks all above stderr to be closed by exec; std's own error pipe is marked already and works until then.
fn close_the_rest() {
    let (first, last, how) = (3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: a system call on numbers. A kernel without it (before 5.11) answers with an error: what Rust opened is
    // marked anyway.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, how) };
}

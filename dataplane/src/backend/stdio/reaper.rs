//! The reaper process (`sentinel-dataplane reap`): ends the plane's children after the plane was killed.
//!
//! A kill -9 of the plane runs none of its code, and the parent-death signal does not reach grandchildren. This small
//! process waits for the end of a pipe; then TERM to each group, 2 s, KILL, and a scan for whoever left its group.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read},
    process::ExitCode,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, killpg},
    },
    unistd::Pid,
};

use super::{
    cgroup::Leaves,
    strays::{self, Marker},
};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// After KILL; what lives then can't be killed at all (stuck in the kernel).
const LAST: Duration = Duration::from_secs(5);

/// Reads until end of file, then ends what is left. Single-threaded, no runtime.
pub fn run(input: impl Read) -> ExitCode {
    // Nobody who runs as our user may look inside or trace: the children do.
    prctl::set_dumpable(false).ok();
    let mut groups = Groups::default();
    let mut lines = BufReader::new(input).lines();
    while let Some(Ok(line)) = lines.next() {
        groups.hear(&line);
    }
    if groups.end() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Debug, Default)]
struct Groups {
    marker: Option<Marker>,
    /// Group → start time of its leader.
    leaders: HashMap<i32, u64>,
    leaves: Option<Leaves>,
}

impl Groups {
    fn hear(&mut self, line: &str) {
        // The folder is the rest of the line, whatever is in it.
        if let Some((prefix, folder)) = line.strip_prefix("leaves ").and_then(|rest| rest.split_once(' ')) {
            self.leaves = Some(Leaves { folder: folder.into(), prefix: prefix.to_owned() });
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["plane", plane, boot] => self.marker = Some(Marker::new(plane, boot)),
            ["add", group, started] => {
                if let (Ok(group), Ok(started)) = (group.parse(), started.parse()) {
                    self.leaders.insert(group, started);
                }
            }
            ["gone", group] => {
                if let Ok(group) = group.parse::<i32>() {
                    self.leaders.remove(&group);
                }
            }
            _ => {}
        }
    }

    /// False: something is left that did not die.
    fn end(&self) -> bool {
        self.signal_groups(Signal::SIGTERM);
        let is_over = self.wait(GRACE);
        // Whoever is in a control group has no way out of it, whatever his group and environment.
        if let Some(leaves) = &self.leaves {
            leaves.kill();
        }
        if is_over && self.leaves.as_ref().is_none_or(Leaves::removed) {
            return true;
        }
        self.signal_groups(Signal::SIGKILL);
        // Whoever left the group; and again, because it may have forked meanwhile.
        let mut looks = LAST.as_millis() / LOOK.as_millis();
        loop {
            let left = self.marked();
            for stray in &left {
                stray.signal(Signal::SIGKILL);
            }
            if left.is_empty() && self.groups().is_empty() && self.leaves.as_ref().is_none_or(Leaves::removed) {
                return true;
            }
            looks = looks.saturating_sub(1);
            if looks == 0 {
                return false;
            }
            pause();
        }
    }

    fn signal_groups(&self, signal: Signal) {
        for group in self.groups() {
            killpg(Pid::from_raw(group), signal).ok();
        }
    }

    /// Groups that still have members and are still the ones that we were told of: a leader of that number that
    /// started at another time has taken a free number, and then nothing of ours had it.
    fn groups(&self) -> Vec<i32> {
        let all = strays::all();
        let is_ours = |group: i32, started: u64| {
            let leader = all.iter().find(|seen| seen.pid == group);
            leader.is_none_or(|leader| leader.started == started)
                && all.iter().any(|seen| seen.group == group && !seen.zombie && seen.started >= started)
        };
        self.leaders.iter().filter(|&(&group, &started)| is_ours(group, started)).map(|(&group, _)| group).collect()
    }

    fn marked(&self) -> Vec<strays::Seen> {
        self.marker.as_ref().map_or_else(Vec::new, |marker| strays::marked(|value| marker.is_of_boot(value)))
    }

    /// True: nothing is left.
    fn wait(&self, most: Duration) -> bool {
        for _ in 0..most.as_millis() / LOOK.as_millis() {
            if self.groups().is_empty() && self.marked().is_empty() {
                return true;
            }
            pause();
        }
        false
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of its own, without a runtime: there is no worker to block")]
fn pause() {
    std::thread::sleep(LOOK);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not a test of its own: in a process that was started as a reaper, this is the reaper.
    #[test]
    fn a_reaper_runs_only_when_it_is_asked_to() {
        if std::env::var_os(super::super::reaper_line::REAPER).is_some() {
            assert_eq!(run(std::io::stdin()), ExitCode::SUCCESS);
        }
    }

    #[test]
    fn a_group_whose_number_was_taken_by_another_is_left_alone() {
        let mut groups = Groups::default();
        let ourselves = strays::look(i32::try_from(std::process::id()).unwrap()).unwrap();
        let group = strays::look(ourselves.group).unwrap();
        groups.hear(&format!("add {} {}", group.pid, group.started + 1));
        assert!(groups.groups().is_empty());
        groups.hear("plane p b");
        groups.hear("nonsense");
        groups.hear(&format!("gone {}", group.pid));
        assert!(groups.leaders.is_empty() && groups.marker == Some(Marker::new("p", "b")));
    }
}

//! What a process tree met of its limits: counted while it runs, and the reason of its end where that is one.

use std::time::Duration;

use super::{cgroup::Exceeded, process::Process, stdio_of, supervisor::Supervisor};

const LOOK: Duration = Duration::from_secs(1);

/// Counts what the limits refuse while it runs. Never ends.
pub(super) async fn watch(supervisor: &Supervisor, process: &Process) {
    if stdio_of(&supervisor.spec).is_none_or(|stdio| stdio.limits.pids.is_none()) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        look(supervisor, process);
    }
}

/// Counts what was refused since the last look.
pub(super) fn look(supervisor: &Supervisor, process: &Process) {
    let Some(most) = stdio_of(&supervisor.spec).and_then(|stdio| stdio.limits.pids) else { return };
    let refused = process.newly_refused();
    if refused > 0 {
        tracing::warn!(backend = &*supervisor.spec.name, pids_max = most, "it could not start a process or thread");
        let why = format!("pids_max ({most}) was reached: it could not start a process or thread");
        supervisor.exceeded(Exceeded { memory: 0, pids: refused }, Some(why));
    }
}

/// Of a process that has ended by itself: that the kernel ended it at its limit.
pub(super) fn reason(supervisor: &Supervisor, process: &Process) -> Option<String> {
    let most = stdio_of(&supervisor.spec).and_then(|stdio| stdio.limits.memory)?;
    if process.exceeded().memory == 0 {
        return None;
    }
    supervisor.exceeded(Exceeded { memory: 1, pids: 0 }, None);
    Some(format!("it needed more than memory_max ({} MiB), and the kernel ended it", most >> 20))
}

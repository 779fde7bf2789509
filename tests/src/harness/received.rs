//! The receive log of an example server, read: what reached it, in order.

use std::path::PathBuf;

use serde_json::Value;

/// The log of one backend.
#[derive(Clone, Debug)]
pub struct Received {
    path: PathBuf,
}

impl Received {
    #[must_use]
    pub fn of(path: PathBuf) -> Self {
        Self { path }
    }

    /// All events: `{at_us, pid, event, tool, id, arguments}`.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        // A last line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| text.split_at(end).0);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The calls of a tool, by the backend's own name.
    #[must_use]
    pub fn calls(&self, tool: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == "call" && event["tool"] == tool).collect()
    }

    /// How many events of a kind: call, cancel, cancelled, initialize.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|seen| seen["event"] == event).count()
    }

    /// The processes that were initialized, oldest first.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = Vec::new();
        for event in self.events() {
            let pid = event["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
            if event["event"] == "initialize" && !pids.contains(&pid) {
                pids.push(pid);
            }
        }
        pids
    }
}

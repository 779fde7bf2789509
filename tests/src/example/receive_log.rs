//! What arrived, in order: one JSON line for each event, written before the server acts on it. Tests read it to see
//! whether a refused call reached the backend, and whether one was sent twice.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;

use serde_json::value::RawValue;
use tokio::time::Instant;

/// Off, unless it has a file.
#[derive(Debug, Default)]
pub struct ReceiveLog(Option<Open>);

#[derive(Debug)]
struct Open {
    since: Instant,
    file: Mutex<File>,
}

impl ReceiveLog {
    /// Appends to the file, and makes it if needed. Errors: as of opening a file.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Some(Open { since: Instant::now(), file: Mutex::new(file) })))
    }

    /// `{"at_us","pid","event","tool","id","arguments"}`; `at_us` is monotonic, from the start of this process. One
    /// `write` a line: several servers may share a file.
    pub fn write(&self, event: &str, tool: &str, id: &str, arguments: Option<&RawValue>) {
        let Some(open) = &self.0 else {
            return;
        };
        let line = format!(
            "{{\"at_us\":{},\"pid\":{},\"event\":\"{event}\",\"tool\":{},\"id\":{id},\"arguments\":{}}}\n",
            open.since.elapsed().as_micros(),
            std::process::id(),
            serde_json::Value::from(tool),
            arguments.map_or("null", RawValue::get),
        );
        let Ok(mut file) = open.file.lock() else {
            return;
        };
        // A full disk must not change what the server answers.
        let _unwritten = file.write_all(line.as_bytes()).is_err();
    }
}

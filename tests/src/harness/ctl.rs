//! `sentinelctl` as operators run it: a command line, an exit code, what it printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::process::{Start, program};

/// Runs commands against one data directory.
#[derive(Clone, Debug)]
pub struct Ctl {
    data_dir: PathBuf,
    folder: PathBuf,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub line: String,
    /// None: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ctl {
    #[must_use]
    pub fn of(data_dir: PathBuf, folder: &Path) -> Self {
        Self { data_dir, folder: folder.to_owned() }
    }

    /// The words of the line, split at spaces.
    pub async fn run(&self, line: &str) -> Ran {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.run_args(&args, &[]).await
    }

    /// Words as they are, with variables of its environment.
    pub async fn run_args(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        env.insert("SENTINEL_DATA_DIR".into(), self.data_dir.display().to_string());
        let start = Start {
            name: "sentinelctl".into(),
            program: program("sentinelctl"),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            env,
            folder: self.folder.clone(),
        };
        let mut command = tokio::process::Command::from(start.command());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        Ran {
            line: args.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Panics unless it ended with this exit code.
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Panics unless it printed this, on either stream.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "`{text}` is not in {self:?}");
        self
    }

    /// Its stdout as JSON. Panics unless it ended with 0.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

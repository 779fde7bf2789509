//! The configuration file: read within bounds, judged, and its problems as operators are told them.

use std::path::Path;

use sentinel_proto::v1::ConfigProblem;
use tokio::io::AsyncReadExt as _;

use crate::config::{self, BuiltInKey, Loaded, MAX_FILE_BYTES, Problem};

/// How the file stands to what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileState {
    /// It can't be published; the stored revision goes on.
    Bad(Vec<ConfigProblem>),
    /// It is good, and not what is in force: the sentence.
    Differs(String),
    #[default]
    Good,
}

impl FileState {
    /// `ok`, or what is wrong.
    pub fn word(&self) -> String {
        match self {
            Self::Bad(problems) => match problems.as_slice() {
                [] => "the file can't be published".to_owned(),
                [one] => sentence(one),
                [first, rest @ ..] => {
                    format!("{} (and {} more: `sentinelctl config check`)", sentence(first), rest.len())
                }
            },
            Self::Differs(sentence) => sentence.clone(),
            Self::Good => "ok".to_owned(),
        }
    }
}

/// `FILE:LINE:COL: message`; a problem without a place is about the file as a whole.
pub fn sentence(problem: &ConfigProblem) -> String {
    if problem.line == 0 {
        format!("{}: {}", problem.file, problem.message)
    } else {
        format!("{}:{}:{}: {}", problem.file, problem.line, problem.col, problem.message)
    }
}

/// Reads and judges the file. Errors: all its problems; one without a line where it can't be read.
pub async fn read(path: &Path, built_in: &BuiltInKey) -> Result<(String, Loaded), Vec<ConfigProblem>> {
    let name = path.display().to_string();
    let whole = |message: String| vec![ConfigProblem { file: name.clone(), message, ..ConfigProblem::default() }];
    let mut text = Vec::new();
    let opened = tokio::fs::File::open(path).await;
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX) + 1;
    let read = match opened {
        Ok(file) => file.take(most).read_to_end(&mut text).await,
        Err(why) => Err(why),
    };
    if let Err(why) = read {
        return Err(whole(format!("can't be read: {why}; give the right file with --config")));
    }
    if text.len() > MAX_FILE_BYTES {
        return Err(whole(format!("is larger than {MAX_FILE_BYTES} bytes; that is no configuration")));
    }
    let Ok(text) = String::from_utf8(text) else {
        return Err(whole("is not UTF-8 text; save it as such".to_owned()));
    };
    match config::load(&name, &text, built_in) {
        Ok(loaded) => Ok((text, loaded)),
        Err(problems) => Err(told(&problems.0)),
    }
}

/// Problems as the contract carries them.
pub fn told(problems: &[Problem]) -> Vec<ConfigProblem> {
    let each = problems.iter().map(|problem| ConfigProblem {
        file: problem.file.clone(),
        line: problem.line,
        col: problem.col,
        message: problem.message.clone(),
    });
    each.collect()
}

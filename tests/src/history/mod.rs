//! What a run's clients, the audit trail, the backends' own logs and the metrics say, and whether they can all be true.
//!
//! The judge believes the clients first and the gateway last. It knows no process and no socket: who ran the run fills a
//! `History`, and `violations` judges it.

mod rules;
#[cfg(test)]
mod tests;

/// One call as its client saw it.
#[derive(Clone, Debug)]
pub struct Made {
    pub client: String,
    pub backend: String,
    /// By its exposed name.
    pub tool: String,
    /// Sent along; no two calls have the same.
    pub nonce: String,
    /// Its tool says that it only reads.
    pub may_repeat: bool,
    /// A good answer gives the nonce back.
    pub echoes: bool,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `said`: the text of the result.
    Result { request_id: String, said: String },
    /// An error of the gateway, by its kind.
    Refused { request_id: String, kind: String },
    /// An error of the backend's own.
    Passed { request_id: String },
    /// The connection failed, was cut, or stayed silent.
    None { why: String },
}

impl Answer {
    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Result { request_id, .. } | Self::Refused { request_id, .. } | Self::Passed { request_id } => {
                Some(request_id)
            }
            Self::None { .. } => None,
        }
    }
}

/// One row of the audit trail.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub request_id: String,
    pub client: String,
    pub tool: String,
    pub status: String,
    pub kind: String,
    /// Above 1: refusals that share it.
    pub count: u64,
    pub nonce: String,
}

/// One call in a backend's own log.
#[derive(Clone, Debug)]
pub struct Executed {
    pub backend: String,
    pub nonce: String,
}

/// A quantity that has to come back to where it was.
#[derive(Clone, Debug)]
pub struct Level {
    pub what: String,
    pub before: u64,
    pub after: u64,
    /// What it may have grown by.
    pub most: u64,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub made: Vec<Made>,
    pub rows: Vec<Row>,
    pub executed: Vec<Executed>,
    /// The plane's own count of calls, where it lived from the first to the last.
    pub counted: Option<u64>,
    /// Deaths of a plane that it could not know of: it forgets what it counted of refusals that share a row.
    pub deaths: usize,
    /// After the last call: calls in flight, places at backends, descriptors, memory.
    pub levels: Vec<Level>,
    /// Processes that should not be there any more, in words.
    pub strays: Vec<String>,
    /// What did not come back by itself after the last fault, in words.
    pub dead: Vec<String>,
}

/// Something that cannot be, if all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Each answer has exactly one row, which says the same.
    AnswerWithoutRow,
    /// A row is of a call that somebody made.
    RowWithoutCall,
    /// What must not be repeated reached its backend once at most; what may, twice.
    SentTwice,
    /// A result is of a call that reached its backend.
    ResultOfNothing,
    /// An answer is its caller's.
    WrongCaller,
    /// The metrics count what the rows say.
    Miscounted,
    /// Permits, descriptors, memory.
    NotGivenBack,
    Orphan,
    /// After the last fault all serve again.
    NotBack,
}

impl History {
    /// Empty: all of it can be true.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        rules::answers(self, &mut found);
        rules::rows(self, &mut found);
        rules::executions(self, &mut found);
        rules::counts(self, &mut found);
        rules::rest(self, &mut found);
        found
    }

    /// One line for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        let of = |is: fn(&Answer) -> bool| self.made.iter().filter(|made| is(&made.answer)).count();
        format!(
            "{} calls: {} results, {} errors of the gateway, {} of a backend, {} without an answer; {} rows, {} executions, \
             {} deaths of the plane",
            self.made.len(),
            of(|answer| matches!(answer, Answer::Result { .. })),
            of(|answer| matches!(answer, Answer::Refused { .. })),
            of(|answer| matches!(answer, Answer::Passed { .. })),
            of(|answer| matches!(answer, Answer::None { .. })),
            self.rows.len(),
            self.executed.len(),
            self.deaths,
        )
    }
}

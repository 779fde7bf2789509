//! What is wrong with a file, and where. It knows lines and columns, and nothing of what keys mean.

use std::collections::BTreeSet;
use std::fmt;

/// One thing to mend: `FILE:LINE:COL: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub col: u32,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.col, self.message)
    }
}

/// All that is wrong with one file, in the file's order; never empty. Prints one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// Line and column (from 1) of the byte at `offset`; past the end is the end.
    pub(super) fn place(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        // An offset inside a character cannot come from the parser; it would count as column 1.
        let before = self.text.get(start..offset).unwrap_or_default().chars();
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(before.count() + 1).unwrap_or(u32::MAX))
    }
}

/// Past it problems are counted, not shown: nobody mends more in one go, and an answer must have an end.
const MOST_SHOWN: usize = 1000;
/// Of one message, in characters; a value that it repeats may be endless.
const LONGEST: usize = 1000;

/// How sure a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    /// A key that is missing: not said of a file that could not be read whole, it may stand in what was not.
    Absence,
    Warning,
}

#[derive(Debug)]
struct Note {
    at: usize,
    weight: Weight,
    syntax: bool,
    message: String,
}

/// Gathers while a file is read.
#[derive(Debug)]
pub(super) struct Notes<'t> {
    file: &'t str,
    lines: Lines<'t>,
    notes: Vec<Note>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, lines: Lines::new(text), notes: Vec::new() }
    }

    fn push(&mut self, at: usize, weight: Weight, syntax: bool, message: String) {
        let message = match message.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
            None => message,
        };
        self.notes.push(Note { at, weight, syntax, message });
    }

    pub(super) fn syntax(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, Weight::Error, true, message.into());
    }

    pub(super) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, Weight::Error, false, message.into());
    }

    pub(super) fn absent(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, Weight::Absence, false, message.into());
    }

    pub(super) fn warn(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, Weight::Warning, false, message.into());
    }

    /// The warnings, if nothing is wrong.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Problems> {
        if self.notes.iter().any(|note| note.weight != Weight::Warning) {
            return Err(self.into_problems());
        }
        Ok(self.located(|_| true))
    }

    /// What is wrong, without the warnings. A line that cannot be read is reported as that and nothing else:
    /// what the parser guessed of it would be noise.
    pub(super) fn into_problems(self) -> Problems {
        let broken: BTreeSet<u32> =
            self.notes.iter().filter(|note| note.syntax).map(|note| self.lines.place(note.at).0).collect();
        let whole = broken.is_empty();
        let lines = Lines::new(self.lines.text);
        Problems(self.located(|note| match note.weight {
            Weight::Warning => false,
            Weight::Absence => whole,
            Weight::Error => note.syntax || !broken.contains(&lines.place(note.at).0),
        }))
    }

    fn located(self, keep: impl Fn(&Note) -> bool) -> Vec<Problem> {
        let Self { file, lines, mut notes } = self;
        notes.retain(|note| keep(note));
        notes.sort_by(|a, b| (a.at, &a.message).cmp(&(b.at, &b.message)));
        notes.dedup_by(|a, b| a.at == b.at && a.message == b.message);
        let rest = notes.split_off(notes.len().min(MOST_SHOWN));
        let more = rest.len();
        if let Some(first) = rest.into_iter().next() {
            let message = format!("and {more} more from here on; mend those above first");
            notes.push(Note { message, ..first });
        }
        let problem = |note: Note| {
            let (line, col) = lines.place(note.at);
            Problem { file: file.to_owned(), line, col, message: note.message }
        };
        notes.into_iter().map(problem).collect()
    }
}

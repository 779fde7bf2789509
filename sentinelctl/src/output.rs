//! The one place that prints: tables and lines for people, JSON for scripts, notes and problems on stderr.
//!
//! Every text in a table (`layout.rs`) or a line passes `Printable`, so that no command has to think of it. What is
//! printed, the command decides; where and how, these two files.

use std::io::{self, IsTerminal as _, Write};

use clap::ValueEnum;
use comfy_table::Table;
use serde_json::Value;

use crate::layout;
use crate::locate::World;
use crate::printable::{self, printable_text};
use crate::wrap;

/// `--output`: tables are for people and may change, JSON is stable and documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For scripts: one JSON value on stdout.
    Json,
}

/// How a cell is to be read; a colour on a terminal, nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong.
    Bad,
    /// Neither.
    Plain,
}

/// Rows under a header. Cells are foreign text until printed.
#[derive(Debug)]
pub struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Rows {
    /// A table without rows.
    #[must_use]
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds one row; cells without a tone are plain.
    pub fn push<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn header(&self) -> &[&'static str] {
        &self.header
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &[(String, Tone)]> {
        self.rows.iter().map(Vec::as_slice)
    }

    pub(crate) fn into_cells(self) -> impl Iterator<Item = Vec<(String, Tone)>> {
        self.rows.into_iter()
    }

    /// Leaves a column out.
    #[must_use]
    pub fn without(mut self, title: &str) -> Self {
        self.keep_columns(|held, _| held != title);
        self
    }

    /// Columns without a word in any row only take room from the others.
    fn without_empty(mut self) -> Self {
        let filled: Vec<bool> = (0..self.header.len())
            .map(|at| self.rows.iter().any(|row| row.get(at).is_some_and(|(text, _)| !text.is_empty())))
            .collect();
        self.keep_columns(|_, at| filled.get(at).copied().unwrap_or_default());
        self
    }

    fn keep_columns(&mut self, keeps: impl Fn(&str, usize) -> bool) {
        let kept: Vec<bool> = self.header.iter().enumerate().map(|(at, title)| keeps(title, at)).collect();
        let mut marks = kept.iter();
        self.header.retain(|_| marks.next().copied().unwrap_or_default());
        for row in &mut self.rows {
            let mut marks = kept.iter();
            row.retain(|_| marks.next().copied().unwrap_or_default());
        }
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A plain cell.
#[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, without a & before each number")]
pub fn plain(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

/// Where results and notes go. Write errors are kept until `finish`.
pub struct Output {
    format: Format,
    quiet: bool,
    colour: bool,
    /// stdout is a terminal, which can be cleared.
    clears: bool,
    /// Columns of the terminal that results go to, and of that of notes; none where there is none.
    width: Option<u16>,
    notes_width: Option<u16>,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    broken: Option<io::Error>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("format", &self.format).field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

impl Output {
    /// stdout and stderr of this process; colours on a terminal alone, and never with `NO_COLOR`.
    #[must_use]
    pub fn of_process(format: Format, quiet: bool, world: &World) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && world.var("NO_COLOR").is_none();
        let width = if terminal { Table::new().width() } else { None };
        let notes_width = if !io::stderr().is_terminal() {
            None
        } else if terminal {
            width
        } else {
            Table::new().use_stderr().width()
        };
        let (out, err) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { format, quiet, colour, clears: terminal, width, notes_width, out, err, broken: None }
    }

    /// Any two writers, a fixed width, no colour: for tests.
    #[must_use]
    pub fn to_writers(format: Format, width: u16, out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        let width = Some(width);
        Self { format, quiet: false, colour: false, clears: false, width, notes_width: width, out, err, broken: None }
    }

    /// Whether `--output json` was asked for.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The result as one JSON value on a line; nothing in table mode.
    pub fn json(&mut self, value: &Value) {
        if self.is_json() {
            self.json_text(&value.to_string());
        }
    }

    /// JSON text as it came (numbers keep their digits), in JSON mode alone.
    pub fn json_text(&mut self, text: &str) {
        if self.is_json() {
            let text = printable::json(text);
            self.write_out(&format!("{text}\n"));
        }
    }

    /// Columns of the terminal; none where there is none.
    #[must_use]
    pub const fn width(&self) -> Option<u16> {
        self.width
    }

    /// A line of a result that has a format of its own, in either mode.
    pub fn record(&mut self, line: &str) {
        let line = printable::json(line);
        self.write_out(&format!("{line}\n"));
    }

    /// Lines of the result, in table mode alone; broken at spaces where the terminal is narrower.
    pub fn line(&mut self, text: &str) {
        if !self.is_json() {
            let text = wrap::to_width(&printable_text(text), self.width);
            self.write_out(&format!("{text}\n"));
        }
    }

    /// Text that people copy, or that has lines of its own (a command, a token, a file), in table mode alone: as it is.
    pub fn verbatim(&mut self, text: &str) {
        if !self.is_json() {
            let text = printable_text(text);
            self.write_out(&format!("{text}\n"));
        }
    }

    /// A table of the result, in table mode alone; `none` where it has no rows.
    pub fn table(&mut self, rows: Rows, none: &str) {
        if self.is_json() {
            return;
        }
        if rows.is_empty() {
            self.line(none);
            return;
        }
        let shown = layout::shown(rows.without_empty(), self.width, self.colour);
        self.write_out(&shown);
    }

    /// Begins the next of several equal blocks, in table mode alone: over the last one on a terminal, else beneath it.
    pub fn again(&mut self, moment: &str) {
        if self.is_json() {
            return;
        }
        if self.clears {
            self.write_out("\u{1b}[H\u{1b}[2J\u{1b}[3J");
        }
        self.line(&format!("--- {moment}"));
    }

    /// Nobody reads the results any more.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.broken.is_some()
    }

    /// Something beside the result, on stderr; `--quiet` leaves it out.
    pub fn note(&mut self, text: &str) {
        if !self.quiet {
            self.problem(text);
        }
    }

    /// What went wrong, on stderr, always.
    pub fn problem(&mut self, text: &str) {
        let text = wrap::to_width(&printable_text(text), self.notes_width);
        let wrote = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
        self.keep(wrote);
    }

    /// A daemon's own line, on stderr, as it came: the daemon has made it printable.
    pub fn passed_on(&mut self, line: &str) {
        let wrote = writeln!(self.err, "{line}");
        self.keep(wrote);
    }

    /// Errors: the first write that failed. A reader who went away (`| head`) is none.
    pub fn finish(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.keep(flushed);
        match self.broken.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn write_out(&mut self, text: &str) {
        let wrote = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        self.keep(wrote);
    }

    fn keep(&mut self, wrote: io::Result<()>) {
        if let Err(error) = wrote {
            self.broken.get_or_insert(error);
        }
    }
}

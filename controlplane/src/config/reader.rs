//! Takes a table apart key by key, notes what is wrong and goes on, so that one run shows all there is to mend.
//! It knows places and key names; what a value means is told to it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Table;
use super::names::nearest;
use super::problems::Notes;

/// A value with the place where it stands (byte offset).
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// A table that is being read. What is not taken is unknown.
#[derive(Debug)]
pub(super) struct Section<'i> {
    table: DeTable<'i>,
    known: &'static Table,
    /// How messages name it: `backends[2]`; empty for the file.
    path: String,
    /// Where it begins, for what is missing in it.
    at: usize,
}

impl<'i> Section<'i> {
    pub(super) fn new(table: DeTable<'i>, known: &'static Table, path: String, at: usize) -> Self {
        Self { table, known, path, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// How messages name `key` of this table.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key` and the place of the key itself.
    fn remove(&mut self, key: &'static str) -> Option<(usize, Spanned<DeValue<'i>>)> {
        debug_assert!(
            self.known.keys.iter().any(|known| known.name == key && known.later.is_none()),
            "{key} is read in [{}] and does not stand in keys.rs",
            self.known.path
        );
        self.table.remove_entry(key).map(|(key, value)| (key.span().start, value))
    }

    /// Whether `key` is written, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value with its place; `None` where it is absent, or wrong and noted.
    pub(super) fn placed<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let (_, value) = self.remove(key)?;
        let at = value.span().start;
        match parse(value.get_ref()) {
            Ok(value) => Some(Placed { at, value }),
            Err(why) => {
                notes.error(at, format!("{}: {why}", self.name(key)));
                None
            }
        }
    }

    /// The value; `None` where it is absent, or wrong and noted.
    pub(super) fn maybe<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.placed(notes, key, parse).map(|placed| placed.value)
    }

    /// The value, or what holds where it is not written. (A wrong one is noted, so the default never counts.)
    pub(super) fn or<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        self.maybe(notes, key, parse).unwrap_or(default)
    }

    /// The value of a key that must stand there; `advice` ends the sentence "… is missing; ".
    pub(super) fn need<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        advice: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        if !self.has(key) {
            notes.absent(self.at, format!("{} is missing; {advice}", self.name(key)));
            return None;
        }
        self.placed(notes, key, parse)
    }

    /// A list, each element with its place. Wrong elements are noted and left out.
    pub(super) fn list<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<Placed<T>>> {
        let (_, value) = self.remove(key)?;
        let at = value.span().start;
        let name = self.name(key);
        let DeValue::Array(items) = value.into_inner() else {
            notes.error(at, format!("{name}: a list is wanted; write it in [ ]"));
            return None;
        };
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            let at = item.span().start;
            match parse(item.get_ref()) {
                Ok(value) => all.push(Placed { at, value }),
                Err(why) => notes.error(at, format!("{name}: {why}")),
            }
        }
        Some(all)
    }

    /// A table with free keys (`headers`, `env`, `rename`), in the file's order. Wrong entries are noted and left out.
    pub(super) fn pairs<T>(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        parse: impl Fn(&str, &DeValue<'_>) -> Result<T, String>,
    ) -> Vec<Placed<(String, T)>> {
        let mut all = Vec::new();
        for Placed { at, value: (name, value) } in self.entries(notes, key) {
            match parse(&name, value.get_ref()) {
                Ok(value) => all.push(Placed { at, value: (name, value) }),
                Err(why) => notes.error(value.span().start, format!("{}.{}: {why}", self.name(key), shown(&name))),
            }
        }
        all
    }

    /// The entries of a table with free keys, in the file's order, each with the place of its key.
    pub(super) fn entries(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
    ) -> Vec<Placed<(String, Spanned<DeValue<'i>>)>> {
        let Some((_, value)) = self.remove(key) else {
            return Vec::new();
        };
        let at = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            notes.error(at, format!("{}: a table is wanted; write {{ name = value }}", self.name(key)));
            return Vec::new();
        };
        let mut all: Vec<_> = table
            .into_iter()
            .map(|(name, value)| Placed { at: name.span().start, value: (name.into_inner().into_owned(), value) })
            .collect();
        all.sort_by_key(|entry| entry.at);
        all
    }

    /// A table with fixed keys; an empty one where it is not written.
    pub(super) fn section(&mut self, notes: &mut Notes<'_>, key: &'static str, known: &'static Table) -> Section<'i> {
        let path = self.name(key);
        let Some((key_at, value)) = self.remove(key) else {
            return Section::new(DeTable::new(), known, path, self.at);
        };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Section::new(table, known, path, key_at),
            DeValue::Array(_) => {
                notes.error(at, format!("{path}: one table is wanted; write [{path}], not [[{path}]]"));
                Section::new(DeTable::new(), known, path, key_at)
            }
            _ => {
                notes.error(at, format!("{path}: a table is wanted; write [{path}]"));
                Section::new(DeTable::new(), known, path, key_at)
            }
        }
    }

    /// A list of tables with fixed keys: `[[backends]]`.
    pub(super) fn sections(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
        known: &'static Table,
    ) -> Vec<Section<'i>> {
        let path = self.name(key);
        let Some((_, value)) = self.remove(key) else {
            return Vec::new();
        };
        let at = value.span().start;
        let DeValue::Array(items) = value.into_inner() else {
            notes.error(at, format!("{path}: a list of tables is wanted; write [[{path}]] before each"));
            return Vec::new();
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let at = item.span().start;
            match item.into_inner() {
                DeValue::Table(table) => all.push(Section::new(table, known, format!("{path}[{index}]"), at)),
                _ => notes.error(at, format!("{path}[{index}]: a table is wanted; write [[{path}]] before each")),
            }
        }
        all
    }

    /// What nobody asked for: later keys, habits from elsewhere, misspellings.
    pub(super) fn finish(self, notes: &mut Notes<'_>) {
        for key in self.table.keys() {
            let (at, written) = (key.span().start, key.get_ref().as_ref());
            notes.error(at, refusal(self.known, written, &self.name(&shown(written))));
        }
    }
}

/// A key of a file as a message may show it: one line, not endless.
fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

fn refusal(known: &Table, written: &str, name: &str) -> String {
    if let Some(key) = known.keys.iter().find(|key| key.name == written) {
        return match key.later {
            Some(issue) => comes_later(name, issue),
            // `finish` without `remove`: a hole in the parser, which a test looks for.
            None => format!("{name} is not read; this is a mistake of Sentinel, please report it"),
        };
    }
    if let Some((_, advice)) = known.habits.iter().find(|(habit, _)| *habit == written) {
        return format!("{name} {advice}");
    }
    let candidates = known.keys.iter().filter(|key| key.later.is_none()).map(|key| key.name);
    match nearest(written, candidates.clone()) {
        Some(near) => format!("unknown key {name}; did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = candidates.collect();
            format!("unknown key {name}; known here: {}", all.join(", "))
        }
    }
}

/// The one wording for what belongs to another issue.
pub(super) fn comes_later(what: &str, issue: &str) -> String {
    if issue == "later" {
        return format!("{what} comes later; leave it out");
    }
    format!("{what} comes later with the {issue} issue; leave it out until then")
}

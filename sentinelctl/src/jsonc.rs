//! JSON as people keep it in files: with comments and a comma too many, each value with its place in the text.
//!
//! It reads and it sets one member, so that everything else of a file stays as it was, byte for byte. It knows no
//! client and no server. Broken and hostile text is a `Mistake` with line and column, never a panic.

use std::fmt;

/// Deepest nesting that is followed.
const DEEPEST: usize = 100;

/// A value and where it stands (byte offsets into the text).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub at: usize,
    pub end: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Array(Vec<Node>),
    Bool(bool),
    Null,
    /// As it is written.
    Number(String),
    /// In the text's order; `comma`: where a comma stands after the last member.
    Object {
        members: Vec<Member>,
        comma: Option<usize>,
    },
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: String,
    pub key_at: usize,
    pub node: Node,
}

/// What is wrong, and where: line and column from 1, the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub col: usize,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.col, self.message)
    }
}

impl Node {
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn members(&self) -> Option<&[Member]> {
        match &self.value {
            Value::Object { members, .. } => Some(members),
            _ => None,
        }
    }

    /// The first member of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members()?.iter().find(|member| member.key == key).map(|member| &member.node)
    }

    /// What it is, with an article.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.value {
            Value::Array(_) => "a list",
            Value::Bool(_) => "true or false",
            Value::Null => "null",
            Value::Number(_) => "a number",
            Value::Object { .. } => "an object",
            Value::Text(_) => "a text",
        }
    }
}

/// Reads one value. Errors: the first thing that no reader of such files would take.
pub fn parse(text: &str) -> Result<Node, Mistake> {
    let mut reader = Reader { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } };
    reader.space()?;
    let node = reader.value(0)?;
    reader.space()?;
    if reader.at < text.len() {
        return Err(reader.mistake(reader.at, "something follows after the end of the value".to_owned()));
    }
    Ok(node)
}

/// A mistake at a byte offset of `text`.
#[must_use]
pub fn mistake(text: &str, at: usize, message: String) -> Mistake {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    let col = before.get(line_start..).unwrap_or_default().chars().filter(|c| *c != '\u{feff}').count();
    Mistake { line: before.matches('\n').count().saturating_add(1), col: col.saturating_add(1), message }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn mistake(&self, at: usize, message: String) -> Mistake {
        mistake(self.text, at, message)
    }

    /// What stands here, for a message that is worded `wanted, not …`.
    fn found(&self) -> String {
        match self.rest().chars().next() {
            Some('\'') => "a single quote; write \" instead".to_owned(),
            Some(c) => format!("{c:?}"),
            None => "the end of the file".to_owned(),
        }
    }

    fn space(&mut self) -> Result<(), Mistake> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.at = self.at.saturating_add(rest.len().saturating_sub(trimmed.len()));
            let begin = self.at;
            if trimmed.starts_with("//") {
                self.at = self.at.saturating_add(trimmed.find('\n').unwrap_or(trimmed.len()));
            } else if trimmed.starts_with("/*") {
                match trimmed.find("*/") {
                    Some(end) => self.at = self.at.saturating_add(end).saturating_add(2),
                    None => return Err(self.mistake(begin, "a comment that never ends; close it with */".to_owned())),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Mistake> {
        let at = self.at;
        if depth > DEEPEST {
            return Err(self.mistake(at, format!("nested deeper than {DEEPEST} levels")));
        }
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            _ => self.scalar()?,
        };
        Ok(Node { at, end: self.at, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Mistake> {
        let begin = self.at;
        self.at = self.at.saturating_add(1);
        let (mut members, mut comma) = (Vec::new(), None);
        loop {
            self.space()?;
            let key_at = self.at;
            match self.peek() {
                Some(b'}') => {
                    self.at = self.at.saturating_add(1);
                    return Ok(Value::Object { members, comma });
                }
                None => return Err(self.mistake(begin, "an object that never ends; close it with }".to_owned())),
                Some(b'"') if members.is_empty() || comma.is_some() => {}
                Some(_) if !members.is_empty() && comma.is_none() => {
                    return Err(self.mistake(key_at, format!("a comma or }} is wanted, not {}", self.found())));
                }
                Some(_) => {
                    return Err(self.mistake(key_at, format!("a name in \"quotes\" is wanted, not {}", self.found())));
                }
            }
            let key = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.mistake(self.at, format!("a colon is wanted, not {}", self.found())));
            }
            self.at = self.at.saturating_add(1);
            self.space()?;
            let node = self.value(depth.saturating_add(1))?;
            members.push(Member { key, key_at, node });
            self.space()?;
            comma = self.comma();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Mistake> {
        let begin = self.at;
        self.at = self.at.saturating_add(1);
        let (mut items, mut comma) = (Vec::new(), None);
        loop {
            self.space()?;
            match self.peek() {
                Some(b']') => {
                    self.at = self.at.saturating_add(1);
                    return Ok(Value::Array(items));
                }
                None => return Err(self.mistake(begin, "a list that never ends; close it with ]".to_owned())),
                Some(_) if !items.is_empty() && comma.is_none() => {
                    return Err(self.mistake(self.at, format!("a comma or ] is wanted, not {}", self.found())));
                }
                Some(_) => {}
            }
            items.push(self.value(depth.saturating_add(1))?);
            self.space()?;
            comma = self.comma();
        }
    }

    fn comma(&mut self) -> Option<usize> {
        let at = self.at;
        if self.peek() != Some(b',') {
            return None;
        }
        self.at = at.saturating_add(1);
        Some(at)
    }

    fn string(&mut self) -> Result<String, Mistake> {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        let mut at = begin.saturating_add(1);
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = at.saturating_add(2),
                Some(b'\n') | None => {
                    return Err(self.mistake(begin, "a text that never ends; close it with \"".to_owned()));
                }
                Some(_) => at = at.saturating_add(1),
            }
        }
        self.at = at.saturating_add(1);
        let quoted = self.text.get(begin..self.at).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|why| {
            let place = quoted.char_indices().nth(why.column().saturating_sub(1)).map_or(0, |(place, _)| place);
            let why = why.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            self.mistake(begin.saturating_add(place), why.to_owned())
        })
    }

    fn scalar(&mut self) -> Result<Value, Mistake> {
        let rest = self.rest();
        let word = rest
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']' | ':' | '"' | '/' | '{' | '['))
            .next()
            .unwrap_or_default();
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            number if serde_json::from_str::<serde_json::Number>(number).is_ok() => Value::Number(number.to_owned()),
            _ => return Err(self.mistake(self.at, format!("a value is wanted, not {}", self.found()))),
        };
        self.at = self.at.saturating_add(word.len());
        Ok(value)
    }
}

/// `text` with the member at `path` set to `value` (objects on the way are made), all the rest as it was; whether there
/// was one before. Errors: the text does not parse, something on the way is no object, or a name stands twice.
pub fn set(text: &str, path: &[&str], value: &serde_json::Value) -> Result<(String, bool), Mistake> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let root = parse(text)?;
    let unit = unit_of(text, &root);
    let mut node = &root;
    for (depth, key) in path.iter().enumerate() {
        let Value::Object { members, comma } = &node.value else {
            return Err(mistake(text, node.at, format!("an object is wanted here, not {}", node.kind())));
        };
        let mut named = members.iter().filter(|member| member.key == *key);
        match (named.next(), named.next()) {
            (Some(_), Some(second)) => {
                return Err(mistake(text, second.key_at, format!("{key:?} stands here a second time; take one out")));
            }
            (Some(member), None) => node = &member.node,
            (None, _) => {
                let rest = path.get(depth.saturating_add(1)..).unwrap_or_default();
                let inner = rest.iter().rev().fold(value.clone(), |inner, key| serde_json::json!({ (*key): inner }));
                let (outer, inside) = (unit.repeat(depth), unit.repeat(depth.saturating_add(1)));
                let member = format!("{}: {}", quoted(key), indented(&inner, &unit, &inside));
                let (at, piece) = match (members.last(), comma) {
                    (None, _) => (node.at.saturating_add(1), format!("\n{inside}{member}\n{outer}")),
                    (Some(_), Some(comma)) => (comma.saturating_add(1), format!("\n{inside}{member}")),
                    (Some(last), None) => (last.node.end, format!(",\n{inside}{member}")),
                };
                return Ok((spliced(text, at, at, &piece), false));
            }
        }
    }
    let piece = indented(value, &unit, &unit.repeat(path.len()));
    Ok((spliced(text, node.at, node.end, &piece), true))
}

fn spliced(text: &str, from: usize, to: usize, piece: &str) -> String {
    format!("{}{piece}{}", text.get(..from).unwrap_or_default(), text.get(to..).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One step of indentation: what stands before the first member, else two spaces.
fn unit_of(text: &str, root: &Node) -> String {
    let first = root.members().and_then(<[Member]>::first);
    let before = first.and_then(|first| text.get(..first.key_at)).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let is_indent = before.contains('\n') && !line.is_empty() && line.chars().all(|c| c == ' ' || c == '\t');
    if is_indent { line.to_owned() } else { "  ".to_owned() }
}

fn indented(value: &serde_json::Value, unit: &str, outer: &str) -> String {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut lines = pretty.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let inner = line.trim_start_matches("  ");
        let steps = line.len().saturating_sub(inner.len()) / 2;
        out.push_str(&format!("\n{outer}{}{inner}", unit.repeat(steps)));
    }
    out
}

#[cfg(test)]
mod tests;

//! Arguments as the policy lets them into a record: in full, with the values of named keys replaced, as a hash,
//! or not at all. One pass over the raw bytes, no tree; white space goes, so that a record stays one line.
//! Strings are not searched: a secret inside an innocent value is not found.

use foldhash::HashSet;

use aws_lc_rs::digest::{SHA256, digest};

use super::event::{hex, push_text};

/// Longest arguments in a record, bytes, after redaction; longer ones become hash, length and a beginning.
pub const MAX_ARGUMENTS: usize = 32 * 1024;
const BEGINNING: usize = 1024;
const MAX_DEPTH: usize = 127;

/// What of the arguments a record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    Full,
    Redacted,
    Hash,
    Nothing,
}

/// The policy's choice, made ready.
#[derive(Clone, Debug)]
pub struct Arguments {
    show: Show,
    keys: HashSet<String>,
}

impl Arguments {
    /// `keys` are compared ignoring case, `-` and `_`; whole keys, at any depth.
    pub fn new<'a>(show: Show, keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = match show {
            Show::Redacted => keys.into_iter().map(plain).collect(),
            Show::Full | Show::Hash | Show::Nothing => HashSet::default(),
        };
        Self { show, keys }
    }

    /// Writes what may be shown of `raw` (a JSON value) into `out`, which is emptied first; the note says what
    /// was done to it, empty for nothing. What is not JSON is only hashed.
    pub fn write(&self, raw: &[u8], out: &mut Vec<u8>) -> &'static str {
        out.clear();
        match self.show {
            _ if raw.is_empty() => return "",
            Show::Nothing => return "",
            Show::Hash => {
                digest_of(raw, None, out);
                return "hash";
            }
            Show::Full | Show::Redacted => {}
        }
        let mut walk = Walk { raw, at: 0, keys: &self.keys };
        let whole = std::str::from_utf8(raw).ok().and_then(|_| {
            walk.value(out, 0)?;
            walk.space();
            (walk.at == raw.len()).then_some(())
        });
        if whole.is_none() {
            out.clear();
            digest_of(raw, None, out);
            return "hash: not JSON";
        }
        if out.len() > MAX_ARGUMENTS {
            let shown = std::mem::take(out);
            digest_of(raw, shown.get(..BEGINNING), out);
            return "truncated";
        }
        ""
    }
}

fn digest_of(raw: &[u8], beginning: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"sha256\":\"");
    out.extend_from_slice(hex(digest(&SHA256, raw).as_ref()).as_bytes());
    out.extend_from_slice(format!("\",\"bytes\":{}", raw.len()).as_bytes());
    if let Some(beginning) = beginning {
        out.extend_from_slice(b",\"first\":");
        let mut whole = String::from_utf8_lossy(beginning).into_owned();
        // the cut may have gone through a character
        whole.truncate(whole.trim_end_matches('\u{fffd}').len());
        push_text(out, &whole, usize::MAX);
    }
    out.push(b'}');
}

/// A key as it is compared.
fn plain(key: &str) -> String {
    key.chars().filter(|char| !matches!(char, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Copies one JSON value. `None`: it is not JSON.
struct Walk<'a> {
    raw: &'a [u8],
    at: usize,
    keys: &'a HashSet<String>,
}

impl<'a> Walk<'a> {
    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.raw.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.raw.get(self.at) {
            self.at = self.at.saturating_add(1);
        }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<()> {
        (self.peek()? == byte).then_some(())?;
        self.at = self.at.saturating_add(1);
        out.push(byte);
        Some(())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        (depth <= MAX_DEPTH).then_some(())?;
        match self.peek()? {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                out.extend_from_slice(self.string()?);
                Some(())
            }
            _ => {
                out.extend_from_slice(self.scalar()?);
                Some(())
            }
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'{', out)?;
        if self.peek()? == b'}' {
            return self.take(b'}', out);
        }
        loop {
            (self.peek()? == b'"').then_some(())?;
            let key = self.string()?;
            out.extend_from_slice(key);
            self.take(b':', out)?;
            let began = out.len();
            self.value(out, depth.saturating_add(1))?;
            if self.hides(key)? {
                out.truncate(began);
                out.extend_from_slice(b"\"[redacted]\"");
            }
            match self.peek()? {
                b',' => self.take(b',', out)?,
                _ => return self.take(b'}', out),
            }
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'[', out)?;
        if self.peek()? == b']' {
            return self.take(b']', out);
        }
        loop {
            self.value(out, depth.saturating_add(1))?;
            match self.peek()? {
                b',' => self.take(b',', out)?,
                _ => return self.take(b']', out),
            }
        }
    }

    /// The string with its quotes; the place is at its first quote.
    fn string(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        let mut end = from.saturating_add(1);
        loop {
            end = end.saturating_add(match self.raw.get(end)? {
                b'"' => break,
                b'\\' => 2,
                0..0x20 => return None,
                _ => 1,
            });
        }
        self.at = end.saturating_add(1);
        self.raw.get(from..self.at)
    }

    /// A number or a literal.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.') = self.raw.get(self.at) {
            self.at = self.at.saturating_add(1);
        }
        let text = self.raw.get(from..self.at)?;
        serde_json::from_slice::<&serde_json::value::RawValue>(text).ok().map(|_| text)
    }

    /// Is `key` (with quotes) one whose value is not shown?
    fn hides(&self, key: &[u8]) -> Option<bool> {
        if self.keys.is_empty() {
            return Some(false);
        }
        let inner = key.get(1..key.len().saturating_sub(1))?;
        if inner.contains(&b'\\') {
            // a lone surrogate is no string: then it is not one of ours either, and serde says so
            return Some(match serde_json::from_slice::<String>(key) {
                Ok(key) => self.keys.contains(&plain(&key)),
                Err(_) => true,
            });
        }
        let key = std::str::from_utf8(inner).ok()?;
        Some(self.keys.contains(&plain(key)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KEYS: [&str; 3] = ["password", "api_key", "Straße"];

    fn shown(show: Show, raw: &str) -> (String, &'static str) {
        let mut out = Vec::new();
        let note = Arguments::new(show, KEYS).write(raw.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), note)
    }

    #[test]
    fn redaction_by_example() {
        for (raw, expected) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{ "password" : "x" , "b":[ 1, 2 ] }"#, r#"{"password":"[redacted]","b":[1,2]}"#),
            (r#"{"PASS-word":{"deep":[1]}}"#, r#"{"PASS-word":"[redacted]"}"#),
            (r#"{"x":[{"Api_Key":null}]}"#, r#"{"x":[{"Api_Key":"[redacted]"}]}"#),
            (r#"{"apikey":1,"ApiKey":2}"#, r#"{"apikey":"[redacted]","ApiKey":"[redacted]"}"#),
            (r#"{"my_password":"kept: not the whole key"}"#, r#"{"my_password":"kept: not the whole key"}"#),
            (r#"{"q":"password=x is not searched"}"#, r#"{"q":"password=x is not searched"}"#),
            (r#"{"p\u0061ssword":"escaped"}"#, r#"{"p\u0061ssword":"[redacted]"}"#),
            (r#"{"STRAßE":1}"#, r#"{"STRAßE":"[redacted]"}"#),
            (r#"{"\ud800password":1}"#, r#"{"\ud800password":"[redacted]"}"#),
            (r#""password""#, r#""password""#),
            ("[]", "[]"),
            ("{ }", "{}"),
            ("-1.5e+3", "-1.5e+3"),
        ] {
            assert_eq!(shown(Show::Redacted, raw), (expected.to_owned(), ""), "{raw}");
        }
    }

    #[test]
    fn the_other_choices() {
        assert_eq!(shown(Show::Full, "{ \"password\":\n\"x\" }").0, r#"{"password":"x"}"#);
        assert_eq!(shown(Show::Nothing, r#"{"a":1}"#), (String::new(), ""));
        let (hash, note) = shown(Show::Hash, "{}");
        let expected = hex(digest(&SHA256, b"{}").as_ref());
        assert_eq!((hash, note), (format!(r#"{{"sha256":"{expected}","bytes":2}}"#), "hash"));
    }

    #[test]
    fn what_is_not_json_shows_nothing_of_itself() {
        for raw in ["{", "{\"a\"}", "{a:1}", "[1,]", "tru", "01", "{\"password\":\"hush", "1 2", "\"a\nb\""] {
            let (text, note) = shown(Show::Redacted, raw);
            assert_eq!(note, "hash: not JSON", "{raw}");
            assert!(!text.contains("hush") && serde_json::from_str::<Value>(&text).is_ok());
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(shown(Show::Full, &deep).1, "hash: not JSON");
    }

    #[test]
    fn long_arguments_become_hash_length_and_a_beginning_without_what_is_hidden() {
        let raw = format!(r#"{{"password":"hush","text":"{}"}}"#, "ü".repeat(MAX_ARGUMENTS));
        let (text, note) = shown(Show::Redacted, &raw);
        assert_eq!(note, "truncated");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["bytes"], json!(raw.len()));
        assert!(read["first"].as_str().unwrap().starts_with(r#"{"password":"[redacted]","text":"ü"#));
        assert!(!text.contains("hush") && text.len() < 2 * BEGINNING && !text.contains('\u{fffd}'));
    }

    fn hidden_by_hand(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    if ["password", "apikey", "straße"].contains(&plain(key).as_str()) {
                        *value = json!("[redacted]");
                    } else {
                        hidden_by_hand(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(hidden_by_hand),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("PassWord".to_owned()),
            Just("api-key".to_owned()),
            Just("a\"b".to_owned()),
            any::<String>()
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_tree_and_shows_no_hidden_value(value in any_json(), pretty in any::<bool>()) {
            let raw = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let (text, note) = shown(Show::Redacted, &raw.unwrap());
            let mut expected = value;
            hidden_by_hand(&mut expected);
            prop_assert_eq!(note, "");
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }

        #[test]
        fn any_bytes_give_json_and_no_panic(raw in prop::collection::vec(any::<u8>(), 1..200)) {
            let mut out = Vec::new();
            Arguments::new(Show::Redacted, KEYS).write(&raw, &mut out);
            prop_assert!(!out.contains(&b'\n'));
        }
    }
}

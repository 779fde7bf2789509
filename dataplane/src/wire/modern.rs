//! A legacy server's answer on its way to a modern client: its result says its type, and error codes that such a client
//! would take for something else are replaced. Every other byte passes as it came.
//!
//! Reads what `incoming` or `answer` has judged, and judges nothing itself: it only finds the places.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{pieces::Pieces, text::unescape};

/// Longest key or number that is looked at; no longer one is of interest.
const LONGEST: usize = 64;
const COMPLETE: &[u8] = b"\"complete\"";
const TYPE: &[u8] = b"\"resultType\":\"complete\"";
const MORE_TYPE: &[u8] = b",\"resultType\":\"complete\"";

/// Codes that mean something else in the modern era, or must not be sent in it, and what is sent in their place
/// (`protocol.md` 1.3): resource not found; headers, version; URL elicitation.
const CODES: [(&[u8], &[u8]); 4] =
    [(b"-32002", b"-32602"), (b"-32020", b"-32603"), (b"-32022", b"-32603"), (b"-32042", b"-32603")];

/// A server asks for a feature of the client that was not declared to it: true in either era.
const LACKS_CAPABILITY: &[u8] = b"-32021";

/// The member of the message that we are in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Top {
    Other,
    Result,
    Error,
}

/// A value that is held back, because another may take its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// `result.resultType`: whatever it is.
    Type,
    /// `error.code`, as far as it is read.
    Code,
}

/// What is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Tokens,
    Text,
    /// A key that matters.
    Key,
}

/// What the next token of an object that matters is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Any,
    Key,
    Value,
}

/// The object of `result` or `error`, while it is open.
#[derive(Clone, Copy, Default)]
struct Inside {
    has_members: bool,
    has_type: bool,
}

/// One answer, from its first byte to its last.
pub struct Rewrite {
    depth: usize,
    reading: Reading,
    /// The string's next byte belongs to an escape.
    escaped: bool,
    next: Next,
    /// The key or the held value, up to `LONGEST`.
    token: Vec<u8>,
    top: Top,
    inside: Option<Inside>,
    /// What the key before the colon asks for.
    wanted: Held,
    held: Held,
    lacks_capability: bool,
}

/// Answers are nobody's business.
impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Default for Rewrite {
    fn default() -> Self {
        Self {
            depth: 0,
            reading: Reading::Tokens,
            escaped: false,
            next: Next::Any,
            token: Vec::with_capacity(LONGEST),
            top: Top::Other,
            inside: None,
            wanted: Held::Nothing,
            held: Held::Nothing,
            lacks_capability: false,
        }
    }
}

/// A whole answer at once.
pub fn whole(message: &Bytes) -> Bytes {
    let mut pieces = Pieces::default();
    Rewrite::default().push(message, &mut pieces);
    joined(pieces)
}

/// One piece of them all.
pub fn joined(mut pieces: Pieces) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::new();
    for piece in pieces.drain() {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

impl Rewrite {
    /// Reads the next chunk and appends what is passed on.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Pieces) {
        let (mut at, mut from) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            if self.reading != Reading::Tokens {
                at += self.text(chunk.get(at..).unwrap_or_default());
                continue;
            }
            if self.next == Next::Value && !byte.is_ascii_whitespace() {
                self.next = Next::Any;
                if self.wanted != Held::Nothing {
                    out.push(chunk.slice(from..at));
                    self.held = std::mem::replace(&mut self.wanted, Held::Nothing);
                    self.token.clear();
                }
            }
            let ends_value = self.depth == 2 && matches!(byte, b',' | b'}');
            if self.held != Held::Nothing && ends_value {
                self.let_go(out);
                from = at;
            } else if self.held == Held::Code && !self.keep(byte) {
                // Longer than any code that matters.
                out.push(Bytes::copy_from_slice(&self.token));
                self.held = Held::Nothing;
                from = at;
            }
            if byte == b'}'
                && self.depth == 2
                && self.top == Top::Result
                && let Some(Inside { has_members, has_type: false }) = self.inside
            {
                out.push(chunk.slice(from..at));
                from = at;
                out.push(Bytes::from_static(if has_members { MORE_TYPE } else { TYPE }));
            }
            self.step(byte);
            at += 1;
        }
        if self.held == Held::Nothing {
            out.push(chunk.slice(from..));
        }
    }

    /// It was an error that names a capability which the client did not declare.
    pub fn lacks_capability(&self) -> bool {
        self.lacks_capability
    }

    /// Within a string: as far as it goes in `rest`.
    fn text(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            self.keep_key(rest.get(..1).unwrap_or_default());
            return 1;
        }
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        self.keep_key(rest.get(..plain).unwrap_or_default());
        match rest.get(plain) {
            None => plain,
            Some(b'\\') => {
                self.keep_key(b"\\");
                self.escaped = true;
                plain + 1
            }
            Some(_) => {
                if std::mem::replace(&mut self.reading, Reading::Tokens) == Reading::Key {
                    self.key_ended();
                }
                plain + 1
            }
        }
    }

    fn step(&mut self, byte: u8) {
        let matters = self.depth == 1 || (self.depth == 2 && self.inside.is_some());
        match byte {
            b'"' if self.next == Next::Key => {
                self.reading = Reading::Key;
                self.next = Next::Any;
                self.token.clear();
            }
            b'"' => self.reading = Reading::Text,
            b'{' | b'[' => {
                self.depth += 1;
                let matters = self.depth == 1 || (self.depth == 2 && self.top != Top::Other);
                self.next = if byte == b'{' && matters { Next::Key } else { Next::Any };
                if self.depth == 2 {
                    self.inside = (self.next == Next::Key).then(Inside::default);
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.next = Next::Any;
                if self.depth == 1 {
                    self.inside = None;
                }
            }
            b',' if matters => self.next = Next::Key,
            b':' if matters => self.next = Next::Value,
            _ => {}
        }
    }

    fn key_ended(&mut self) {
        let mut said = Vec::new();
        let key = if self.token.contains(&b'\\') {
            unescape(&self.token, &mut said);
            &said
        } else {
            &self.token
        };
        if self.depth == 1 {
            self.top = match key.as_slice() {
                b"result" => Top::Result,
                b"error" => Top::Error,
                _ => Top::Other,
            };
            return;
        }
        let Some(inside) = &mut self.inside else { return };
        inside.has_members = true;
        self.wanted = match (self.top, key.as_slice()) {
            (Top::Result, b"resultType") => {
                inside.has_type = true;
                Held::Type
            }
            (Top::Error, b"code") => Held::Code,
            _ => Held::Nothing,
        };
    }

    /// The held value is over: another goes out, or itself.
    fn let_go(&mut self, out: &mut Pieces) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Type => out.push(Bytes::from_static(COMPLETE)),
            Held::Code => {
                let code = self.token.trim_ascii_end();
                self.lacks_capability = code == LACKS_CAPABILITY;
                let other = CODES.iter().find(|(known, _)| *known == code);
                out.push(
                    other.map_or_else(|| Bytes::copy_from_slice(&self.token), |(_, other)| Bytes::from_static(other)),
                );
            }
        }
    }

    /// False: there is no more room.
    fn keep(&mut self, byte: u8) -> bool {
        let has_room = self.token.len() < LONGEST && !matches!(byte, b'"' | b'{' | b'[');
        if has_room {
            self.token.push(byte);
        }
        has_room
    }

    /// Of a key that matters; a longer one than `LONGEST` is none of ours.
    fn keep_key(&mut self, bytes: &[u8]) {
        if self.reading == Reading::Key {
            let room = (LONGEST + 1).saturating_sub(self.token.len());
            self.token.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(text: &str) -> String {
        String::from_utf8(whole(&Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn a_result_without_a_type_is_complete_and_keeps_its_bytes() {
        for (was, is) in [
            (r#"{"id":1,"result":{}}"#, r#"{"id":1,"result":{"resultType":"complete"}}"#),
            (
                r#"{ "result" : { "a" : [ {"resultType":1}, "}" ] } , "id":1}"#,
                r#"{ "result" : { "a" : [ {"resultType":1}, "}" ] ,"resultType":"complete"} , "id":1}"#,
            ),
            (
                r#"{"re\u0073ult":{"content":[],"structuredContent":{"result":{}}},"id":1}"#,
                r#"{"re\u0073ult":{"content":[],"structuredContent":{"result":{}},"resultType":"complete"},"id":1}"#,
            ),
            (r#"{"id":"\"result\":{","result":7}"#, r#"{"id":"\"result\":{","result":7}"#),
        ] {
            assert_eq!(rewritten(was), is);
        }
    }

    #[test]
    fn a_type_that_a_legacy_server_has_no_word_in_becomes_complete() {
        for (was, is) in [
            (r#"{"result":{"resultType":"complete","x":1}}"#, r#"{"result":{"resultType":"complete","x":1}}"#),
            (
                r#"{"result":{"inputRequests":{},"resultType" : "input_required"}}"#,
                r#"{"result":{"inputRequests":{},"resultType" : "complete"}}"#,
            ),
            (
                r#"{"result":{"result\u0054ype":{"a":[1,"}"]},"resultType":null}}"#,
                r#"{"result":{"result\u0054ype":"complete","resultType":"complete"}}"#,
            ),
        ] {
            assert_eq!(rewritten(was), is);
        }
    }

    #[test]
    fn codes_of_the_other_era_are_replaced_and_all_others_stay() {
        for (was, is) in [
            ("-32002", "-32602"),
            ("-32022", "-32603"),
            ("-32042", "-32603"),
            ("-32602", "-32602"),
            ("-32021", "-32021"),
            ("7.5e3", "7.5e3"),
            ("\"-32022\"", "\"-32022\""),
            ("{\"a\":[1,2]}", "{\"a\":[1,2]}"),
        ] {
            let text =
                |code: &str| format!(r#"{{"id":1,"error":{{"message":"m","code":{code},"data":{{"code":-32022}}}}}}"#);
            assert_eq!(rewritten(&text(was)), text(is));
        }
        let long = format!(r#"{{"error":{{"code":-1{}}}}}"#, "0".repeat(200));
        assert_eq!(rewritten(&long), long);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a-z\"\\\\{}\\[\\],:é]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![Just("resultType".to_owned()), Just("code".to_owned()), "[a-z\"\\\\]{0,6}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((key, inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn wherever_an_answer_is_cut_it_says_the_same_and_is_what_it_was_but_for_its_type(
            result in json(), cuts in proptest::collection::vec(0usize..400, 0..6),
        ) {
            let text = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
            let message = Bytes::from(text);
            let at_once = whole(&message);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
            cuts.sort_unstable();
            let (mut rewrite, mut pieces, mut from) = (Rewrite::default(), Pieces::default(), 0);
            for cut in cuts.into_iter().chain([message.len()]) {
                rewrite.push(&message.slice(from..cut), &mut pieces);
                from = cut;
            }
            prop_assert_eq!(&joined(pieces), &at_once);
            let mut expected = result;
            if let Some(members) = expected.as_object_mut() {
                members.insert("resultType".into(), "complete".into());
            }
            let read: serde_json::Value = serde_json::from_slice(&at_once).unwrap();
            prop_assert_eq!(&read["result"], &expected);
        }
    }
}

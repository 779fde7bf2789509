//! What only the modern era says in an answer goes, however the answer comes; every other byte passes as it came.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    incoming::{self, Incoming},
    modern::joined,
    naive,
    neutral::{Members, Neutral, ResultType, whole},
    pieces::Pieces,
};

/// Of an answer that comes in chunks of these sizes, over and over.
fn streamed(message: &str, members: Members, sizes: &[usize]) -> (String, ResultType) {
    let (mut pieces, mut neutral) = (Pieces::default(), Neutral::without(members));
    let mut rest = message.as_bytes();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
        neutral.push(&Bytes::copy_from_slice(chunk), &mut pieces);
        rest = after;
    }
    (String::from_utf8(joined(pieces).to_vec()).unwrap(), neutral.result_type())
}

/// Of a whole answer, which gets another id on the way.
fn at_once(message: &str, members: Members, client_id: &str) -> (String, ResultType) {
    let message = Bytes::copy_from_slice(message.as_bytes());
    let Ok(Incoming::Response { id, places, .. }) = incoming::read(&message) else { panic!("{message:?}") };
    let (out, said) = whole(&message, id, &places, client_id.as_bytes(), members);
    (String::from_utf8(out.to_vec()).unwrap(), said)
}

#[test]
fn what_only_the_modern_era_says_goes_with_one_comma_and_the_rest_keeps_its_bytes() {
    for (was, is, said) in [
        (r#""result":{"resultType":"complete","content":[ ]}"#, r#""result":{"content":[ ]}"#, ResultType::Complete),
        (
            r#""result":{"content":[{"resultType":"stays"}] , "result\u0054ype" : "input_required" }"#,
            r#""result":{"content":[{"resultType":"stays"}] }"#,
            ResultType::InputRequired,
        ),
        (r#""result":{"resultType":"task"}"#, r#""result":{}"#, ResultType::Task),
        (r#""result":{"resultType":"tasks"}"#, r#""result":{}"#, ResultType::Other),
        (r#""result":{"resultType":["complete"]}"#, r#""result":{}"#, ResultType::Other),
        (r#""result":{"resultType":" complete"}"#, r#""result":{}"#, ResultType::Other),
        (r#""result":{"resultType":"task","resultType":"complete"}"#, r#""result":{}"#, ResultType::Complete),
        (
            r#""result":{"a":1,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x","_meta":{}},"k":[1, 2]},"b":"}"}"#,
            r#""result":{"a":1,"_meta":{"k":[1, 2]},"b":"}"}"#,
            ResultType::Complete,
        ),
        (
            r#""result":{"_meta":{"k":"\"","io.modelcontextprotocol/serverInfo":7},"resultType":"complete","ttlMs":5}"#,
            r#""result":{"_meta":{"k":"\""},"ttlMs":5}"#,
            ResultType::Complete,
        ),
        (r#""result":[{"resultType":"task"}]"#, r#""result":[{"resultType":"task"}]"#, ResultType::Complete),
        (
            r#""error":{"code":-1,"message":"resultType","data":{"resultType":"complete"}}"#,
            r#""error":{"code":-1,"message":"resultType","data":{"resultType":"complete"}}"#,
            ResultType::Complete,
        ),
    ] {
        let first = |part: &str| format!(r#"{{"jsonrpc":"2.0",{part},"id":1}}"#);
        let last = |part: &str| format!(r#"{{"id":1,{part},"jsonrpc":"2.0"}}"#);
        for (message, want) in [(first(was), first(is)), (last(was), last(is))] {
            for size in [1, 2, 7, 1_000] {
                assert_eq!(streamed(&message, Members::Typed, &[size]), (want.clone(), said), "by {size}");
            }
            assert_eq!(at_once(&message, Members::Typed, "1"), (want, said));
        }
    }
}

#[test]
fn a_read_loses_how_long_it_may_be_kept() {
    let message = r#"{"jsonrpc":"2.0","id":1,"result":{"ttlMs":1,"contents":[],"cacheScope":"public","resultType":"complete","x":2}}"#;
    let want = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[],"x":2}}"#;
    for size in 1..message.len() {
        assert_eq!(streamed(message, Members::Kept, &[size]).0, want);
    }
    assert_eq!(at_once(message, Members::Kept, "1").0, want);
}

/// An object as its members stand, each from brace or comma to comma or brace.
#[derive(Clone, Debug)]
struct Object(Vec<(String, Value)>);

#[derive(Clone, Debug)]
enum Value {
    Text(&'static str),
    Object(Object),
}

/// What an object is, and so which of its members go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Result(Members),
    Meta,
    Elsewhere,
}

impl Object {
    /// Its text without what goes there.
    fn without(&self, place: In) -> String {
        let staying = self.0.iter().filter_map(|(key, value)| {
            let said = naive::said(key.trim());
            let is = |name: &str| said.iter().copied().eq(name.encode_utf16());
            let goes = match place {
                In::Result(Members::Typed) => is("resultType"),
                In::Result(Members::Kept) => is("resultType") || is("ttlMs") || is("cacheScope"),
                In::Meta => is("io.modelcontextprotocol/serverInfo"),
                In::Elsewhere => false,
            };
            let inside = match place {
                In::Result(_) if is("_meta") => In::Meta,
                _ => In::Elsewhere,
            };
            let value = match value {
                Value::Text(text) => (*text).to_owned(),
                Value::Object(object) => format!(" {}\t", object.without(inside)),
            };
            (!goes).then(|| format!("{key}:{value}"))
        });
        format!("{{{}}}", staying.collect::<Vec<_>>().join(","))
    }

    /// The last type that it says, as a result.
    fn says(&self) -> ResultType {
        let of_type = |key: &str| naive::said(key.trim()) == "resultType".encode_utf16().collect::<Vec<_>>();
        let said = self.0.iter().rev().find(|(key, _)| of_type(key)).map(|(_, value)| match value {
            Value::Text(text) => text.trim(),
            Value::Object(_) => "{}",
        });
        match said {
            None | Some(r#""complete""#) => ResultType::Complete,
            Some(r#""input_required""#) => ResultType::InputRequired,
            Some(r#""task""#) => ResultType::Task,
            Some(_) => ResultType::Other,
        }
    }
}

fn member(value: impl Strategy<Value = Value>) -> impl Strategy<Value = (String, Value)> {
    let key = prop::sample::select(vec![
        "resultType",
        "result\\u0054ype",
        "resulttype",
        "ttlMs",
        "cacheScope",
        "_meta",
        "\\u005fmeta",
        "io.modelcontextprotocol/serverInfo",
        "io.modelcontextprotocol\\/serverInfo",
        "isError",
        "content\\\"",
        "é\\ud800",
    ]);
    let space = || prop::sample::select(vec!["", "", " ", "\r\n\t"]);
    (space(), key, space(), value).prop_map(|(before, key, after, value)| (format!("{before}\"{key}\"{after}"), value))
}

fn object(most: usize, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Object> {
    prop::collection::vec(member(value), 0..most).prop_map(Object)
}

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        r#""complete""#,
        " \"complete\"\n",
        r#" "input_required""#,
        r#""task" "#,
        r#""comp\u006cete""#,
        r#"" complete""#,
        "1.5e3",
        " null ",
        "[]",
        "{}",
        r#"["}",{"resultType":"task"},"]" ]"#,
        r#"{"_meta":{"io.modelcontextprotocol/serverInfo":1},"ttlMs":2}"#,
        r#""\",\"resultType\":\"task\"""#,
        r#""\\""#,
        r#""{[:""#,
    ])
    .prop_map(Value::Text)
}

proptest! {
    #[test]
    fn whole_or_cut_anyhow_an_answer_loses_the_same_and_nothing_else(
        result in object(9, prop_oneof![3 => text(), 1 => object(6, text()).prop_map(Value::Object)]),
        is_read: bool,
        id_first: bool,
        sizes in prop::collection::vec(1usize..40, 1..9),
    ) {
        let members = if is_read { Members::Kept } else { Members::Typed };
        let message = |id: &str, result: String| match id_first {
            true => format!(r#"{{"jsonrpc":"2.0", "id" : {id} ,"re\u0073ult": {result} }}"#),
            false => format!(r#" {{"result":{result},"jsonrpc":"2.0", "id" : {id} }}"#),
        };
        let (was, said) = (result.without(In::Elsewhere), result.says());
        let want = (message("\"c\"", result.without(In::Result(members))), said);
        let cut = streamed(&message("\"c\"", was.clone()), members, &sizes);
        let at_once = at_once(&message("17", was), members, "\"c\"");
        prop_assert_eq!((&cut, &at_once), (&want, &want));
    }
}

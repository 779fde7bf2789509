//! Properties and mutations: the readers agree with an independent checker, with each other, and over any cut.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    incoming::{self, Incoming},
    naive, outgoing,
    scan::{self, Body},
    sse,
    sse_tests::{STREAM, events},
    tests::{ANSWER, CALL, one, stream},
};

fn json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a",
        "\\u0061",
        "b",
        "id",
        "Id",
        "é",
        "\\ud83d\\ude00",
        "😀",
        "\\ud800",
        "isError",
        "x\\n",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0".to_owned()),
        Just("1e999".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| serde_json::to_string(&n).unwrap()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(6, 60, 24, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec((key.clone(), inner), 0..24).prop_map(|all| {
                let members: Vec<_> = all.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Members that params may have; `META` stands for its own.
const PARAMS: [(&str, &str); 7] = [
    ("name", r#""x__a""#),
    ("_meta", "META"),
    ("arguments", r#"{"task":1,"_meta":{"progressToken":1}}"#),
    ("task", r#"{"ttl":1}"#),
    ("inputResponses", r#"{"a":{}}"#),
    ("requestState", r#""theirs""#),
    ("x", "[ ]"),
];
const META: [(&str, &str); 6] = [
    ("progressToken", r#""p""#),
    ("a", "null"),
    ("io.modelcontextprotocol/protocolVersion", r#""2026-07-28""#),
    ("io.modelcontextprotocol/clientInfo", r#"{"name":"x"}"#),
    ("io.modelcontextprotocol/clientCapabilities", "{}"),
    ("io.modelcontextprotocol/logLevel", r#""info""#),
];

proptest! {
    #[test]
    fn any_value_is_judged_as_an_independent_checker_judges_it(value in json()) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"x":{value}}}}}"#);
        prop_assert_eq!(scan::body(body.as_bytes()).is_ok(), naive::single(&body), "{}", body);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{value}}}}}"#);
        prop_assert_eq!(one(&body).arguments_fault.is_none(), naive::single(&body), "{}", body);
    }

    #[test]
    fn params_in_any_order_go_out_with_ours_in_place_of_what_is_of_the_modern_era(
        order in Just((0..PARAMS.len()).collect::<Vec<_>>()).prop_shuffle(),
        count in 0..=PARAMS.len(),
        meta in Just((0..META.len()).collect::<Vec<_>>()).prop_shuffle(),
        meta_count in 0..=META.len(),
        (ours, inputs, line) in any::<(bool, bool, bool)>(),
    ) {
        let named = |all: &[usize], of: &[(&str, &str)]| {
            all.iter().filter_map(|at| of.get(*at)).map(|(key, value)| format!("\"{key}\" :{value} ")).collect::<Vec<_>>().join(",\n")
        };
        let said = format!("{{{}}}", named(&meta[..meta_count], &META));
        let params = format!("{{{}}}", named(&order[..count], &PARAMS).replace("META", &said));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
        let found = one(&body);
        let named = outgoing::Named {
            method: "m",
            renamed: found.name.map(|name| (name.token(), "own")),
            meta: if ours { r#""k":{}"# } else { "" },
            inputs: if ours && inputs { r#""requestState":"ours""# } else { "" },
            keeps_task: false,
        };
        let out = outgoing::call(body.as_bytes(), &found, named, 9, None, line);
        prop_assert!(!line || out.iter().filter(|byte| **byte == b'\n').count() == 1, "one line");

        let mut want: serde_json::Value = serde_json::from_str(&params).unwrap();
        let all = want.as_object_mut().unwrap();
        all.retain(|key, _| !matches!(key.as_str(), "task" | "inputResponses" | "requestState"));
        if let Some(name) = all.get_mut("name") {
            *name = "own".into();
        }
        if let Some(meta) = all.get_mut("_meta").and_then(serde_json::Value::as_object_mut) {
            meta.retain(|key, _| !key.starts_with("io.modelcontextprotocol/"));
            if let Some(token) = meta.get_mut("progressToken") {
                *token = 9.into();
            }
        }
        if ours {
            all.entry("_meta").or_insert_with(|| serde_json::json!({}))["k"] = serde_json::json!({});
            if inputs {
                all.insert("requestState".to_owned(), "ours".into());
            }
        }
        let whole = serde_json::json!({"jsonrpc": "2.0", "id": 9, "method": "m", "params": want});
        prop_assert!(naive::single(std::str::from_utf8(&out).unwrap()), "{:?}", out);
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), whole, "{:?}", out);
    }

    #[test]
    fn any_cut_of_an_answer_gives_the_same_bytes(value in json(), sizes in prop::collection::vec(1usize..40, 1..9)) {
        let body = format!(r#"{{"jsonrpc":"2.0","result":{value},"id":17}}"#);
        let whole = stream(body.as_bytes(), &[usize::MAX]);
        prop_assert!(whole.is_ok(), "{:?} {}", whole, body);
        prop_assert_eq!(stream(body.as_bytes(), &sizes), whole);
    }

    #[test]
    fn any_bytes_cut_into_events_anyhow_give_the_same(text in "[a:d \r\n\u{feff}]{0,60}|(data: [a-c]{0,3}[\r\n]{1,3}){0,9}", sizes in prop::collection::vec(1usize..9, 1..9)) {
        prop_assert_eq!(events(text.as_bytes(), &sizes), events(text.as_bytes(), &[usize::MAX]));
    }
}

/// The fuzz targets: no bytes may panic, and all readers must agree where they say the same thing.
fn fuzz(bytes: &[u8]) {
    let is_json = naive::is_json(bytes);
    match scan::body(bytes) {
        Ok(body) => {
            assert!(is_json, "taken, but no JSON: {}", String::from_utf8_lossy(bytes));
            if let Body::One(found) = body
                && found.name.is_some()
            {
                let renamed = found.name.map(|name| (name.token(), "own"));
                for meta in ["", crate::backend::era::META] {
                    let named = outgoing::Named { method: "tools/call", renamed, meta, inputs: "", keeps_task: false };
                    let out = outgoing::call(bytes, &found, named, 1, None, true);
                    assert!(scan::body(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
                }
            }
        }
        Err(fault) if fault.code() == -32700 => {
            assert!(!is_json, "{fault}: {}", String::from_utf8_lossy(bytes))
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    let whole = incoming::read(bytes);
    let streamed = stream(bytes, &[3, 1, 8]);
    if let Ok(Incoming::Response { id, failed, tool_error, .. }) = whole {
        if id.get(bytes) == b"17" {
            let want = incoming::with_id(&Bytes::copy_from_slice(bytes), id, b"\"client\"");
            assert_eq!(streamed, Ok((want.to_vec(), failed, tool_error)), "{}", String::from_utf8_lossy(bytes));
        }
    } else {
        assert!(streamed.is_err(), "{whole:?} but streamed: {}", String::from_utf8_lossy(bytes));
    }
    let mut parser = sse::Parser::new(64);
    let framed = sse::frame(bytes, None);
    if parser.push(framed, &mut Vec::new()).is_ok() {
        drop(parser.push(Bytes::copy_from_slice(bytes), &mut Vec::new()));
    }
}

#[test]
fn twenty_thousand_mutations_break_nothing() {
    let seeds = [CALL, ANSWER, STREAM, r#"[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","id":1,"result":{}}]"#];
    let alphabet = b"{}[]\",:\\u0d81e+-.tfn \n\r\x00\xff\xc3Ii";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = alphabet[random(alphabet.len())],
                1 => bytes.insert(at, alphabet[random(alphabet.len())]),
                2 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + random(30)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        fuzz(&bytes);
    }
}

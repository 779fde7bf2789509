//! What the scans take and refuse, held against an independent checker on `serde_json`.

use bytes::Bytes;

use super::{
    Fault,
    answer::{AnswerFault, AnswerScan, Pieces},
    incoming::{self, Incoming},
    outgoing,
    scan::{self, Body, Kind, Referred, Scanned},
};

pub(super) fn one(text: &str) -> Scanned {
    match scan::body(text.as_bytes()) {
        Ok(Body::One(scanned)) => scanned,
        other => panic!("{other:?} of {text}"),
    }
}

fn code(text: &str) -> i32 {
    scan::body(text.as_bytes()).map_or_else(|fault| fault.code(), |_| 0)
}

pub(super) const CALL: &str = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"task":{"ttl":1},"name":"x_\u0061dd","arguments":{"n":1e999,"s":"\ud800"},"_meta":{"progressToken":7,"traceparent":"00-1","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

#[test]
fn a_call_yields_the_spans_of_all_its_parts() {
    let body = CALL.as_bytes();
    let found = one(CALL);
    assert_eq!(found.kind, Kind::Request);
    assert_eq!(found.id.unwrap().get(body), br#""a\u0062""#);
    assert_eq!(found.method.unwrap().text(body).unwrap(), "tools/call");
    assert_eq!(found.name.unwrap().text(body).unwrap(), "x_add");
    assert_eq!(found.arguments.unwrap().get(body), br#"{"n":1e999,"s":"\ud800"}"#);
    assert_eq!(found.progress_token.unwrap().get(body), b"7");
    assert_eq!(found.modern.unwrap().version.unwrap().get(body), br#""2026-07-28""#);
    assert_eq!(found.traceparent.unwrap().text(body).unwrap(), "00-1");
    assert_eq!(found.task.unwrap().0.get(body), br#""task":{"ttl":1},"#);
    assert_eq!(found.arguments_fault, None);
}

fn call(body: &str, own: &str, id: u64, token: Option<u64>, line: bool) -> Bytes {
    let found = one(body);
    let renamed = found.name.map(|name| (name.token(), own));
    let named = outgoing::Named { method: "tools/call", renamed, meta: "", inputs: "", keeps_task: false };
    outgoing::call(body.as_bytes(), &found, named, id, token, line)
}

#[test]
fn a_call_keeps_what_it_says_of_a_task_where_its_server_is_to_see_it() {
    for (params, without) in [
        (r#"{"task":{ "ttl":1e3 },"name":"a"}"#, r#"{"name":"a"}"#),
        (r#"{"name":"a" ,"task": null}"#, r#"{"name":"a" }"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let told = |keeps_task| {
            let named = outgoing::Named { method: "tools/call", renamed: None, meta: "", inputs: "", keeps_task };
            outgoing::call(body.as_bytes(), &one(&body), named, 1, None, false)
        };
        let of = |params| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert_eq!((told(true), told(false)), (of(params).into(), of(without).into()));
    }
}

#[test]
fn a_modern_servers_call_says_what_we_say_and_nothing_that_the_client_said_of_its_own_era() {
    const OURS: &str = r#""io.modelcontextprotocol/protocolVersion":"v""#;
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#;
    for (params, want) in [
        (None, format!(r#"{{"_meta":{{{OURS}}}}}"#)),
        (Some("{}".to_owned()), format!(r#"{{"_meta":{{{OURS}}}}}"#)),
        (Some(r#"{"a":[1 ]}"#.to_owned()), format!(r#"{{"_meta":{{{OURS}}},"a":[1 ]}}"#)),
        (Some(r#"{"task":{}}"#.to_owned()), format!(r#"{{"_meta":{{{OURS}}}}}"#)),
        (Some(r#"{"task":{},"a":1}"#.to_owned()), format!(r#"{{"_meta":{{{OURS}}},"a":1}}"#)),
        (Some(r#"{"_meta":{ },"a":1}"#.to_owned()), format!(r#"{{"_meta":{{{OURS} }},"a":1}}"#)),
        (
            Some(r#"{"a":1,"_meta":{"k":2,"progressToken":"p"}}"#.to_owned()),
            format!(r#"{{"a":1,"_meta":{{{OURS},"k":2,"progressToken":9}}}}"#),
        ),
        (Some(format!(r#"{{"_meta":{{{version},{capabilities}}}}}"#)), format!(r#"{{"_meta":{{{OURS}}}}}"#)),
        (
            Some(format!(r#"{{"_meta":{{{version},"k":1,{capabilities}}}}}"#)),
            format!(r#"{{"_meta":{{{OURS},"k":1}}}}"#),
        ),
        (
            Some(format!(r#"{{"_meta":{{"progressToken":1,{capabilities},{version}}}}}"#)),
            format!(r#"{{"_meta":{{{OURS},"progressToken":9}}}}"#),
        ),
    ] {
        let with = params.map_or_else(String::new, |params| format!(r#","params":{params}"#));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call"{with}}}"#);
        let named = outgoing::Named { method: "tools/call", renamed: None, meta: OURS, inputs: "", keeps_task: false };
        let out = outgoing::call(body.as_bytes(), &one(&body), named, 9, None, false);
        let whole = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{want}}}"#);
        assert_eq!(std::str::from_utf8(&out).unwrap(), whole, "{body}");
    }
}

#[test]
fn a_completions_reference_is_found_and_read_strictly() {
    let complete = |reference: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference},"argument":{{"name":"a","value":"b"}}}}}}"#
        )
    };
    for (reference, what, said) in [
        (r#"{"type":"ref/prompt","name":"x_\u0061","title":"t"}"#, Referred::Prompt, "x_a"),
        (r#"{"uri":"a://{b}","name":"x","type":"ref/resource"}"#, Referred::Resource, "a://{b}"),
    ] {
        let body = complete(reference);
        let found = one(&body).reference.expect("a reference");
        assert_eq!((found.what, &*found.text.text(body.as_bytes()).unwrap()), (what, said));
    }
    for nothing in [r#""ref/prompt""#, r#"{"type":"ref/prompt","uri":"a"}"#, r#"{"type":"ref/tool","name":"a"}"#, "{}"]
    {
        assert_eq!(one(&complete(nothing)).reference, None, "{nothing}");
    }
    // What another parser could read as another reference.
    assert_eq!(code(&complete(r#"{"type":"ref/prompt","name":"a","Name":"b"}"#)), -32600);
    assert_eq!(code(&complete(r#"{"type":"ref/prompt","name":"a","name":"b"}"#)), -32600);
}

#[test]
fn a_completion_goes_out_with_the_prompts_own_name_alone_changed() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"name" : "x__a","type":"ref/prompt"},"name":"stays"}}"#;
    let found = one(body);
    let renamed = found.reference.map(|reference| (reference.text.token(), "a"));
    let named = outgoing::Named { method: "completion/complete", renamed, meta: "", inputs: "", keeps_task: false };
    let out = outgoing::call(body.as_bytes(), &found, named, 7, None, false);
    let want = body.replace(r#""id":1"#, r#""id":7"#).replace(r#""x__a""#, r#""a""#);
    assert_eq!(std::str::from_utf8(&out).unwrap(), want);
}

#[test]
fn a_call_goes_out_with_its_bytes_but_for_name_token_task_and_what_is_of_the_modern_era() {
    let out = call(CALL, "a\"dd", 9, Some(9), false);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"a\"dd","arguments":{"n":1e999,"s":"\ud800"},"_meta":{"progressToken":9,"traceparent":"00-1"}}}"#
    );
}

#[test]
fn the_modern_eras_keys_go_with_their_commas_wherever_they_stand() {
    let (version, info) = (
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
        r#""io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"}"#,
    );
    let (capabilities, level) =
        (r#""io.modelcontextprotocol/clientCapabilities":{}"#, r#""io.modelcontextprotocol/\u006cogLevel":"info""#);
    for (meta, left) in [
        (format!("{{{version}}}"), "{}"),
        (format!("{{ {version} , {info},{capabilities},{level} }}"), "{  }"),
        (format!(r#"{{{version},"a":1}}"#), r#"{"a":1}"#),
        (format!(r#"{{"a":1,{version}}}"#), r#"{"a":1}"#),
        (format!(r#"{{{version},"a":1,{info},{level},"b":2,{capabilities}}}"#), r#"{"a":1,"b":2}"#),
        (format!(r#"{{{version},{info},"a":1,{level}}}"#), r#"{"a":1}"#),
    ] {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta},"name":"a"}}}}"#);
        let out = call(&text, "b", 1, None, false);
        let whole =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{left},"name":"b"}}}}"#);
        assert_eq!(std::str::from_utf8(&out).unwrap().replace(' ', ""), whole.replace(' ', ""), "{meta}");
    }
}

#[test]
fn a_task_goes_with_one_comma_wherever_it_stands() {
    for (params, left) in [
        (r#"{"name":"a","task":{}}"#, r#"{"name":"b"}"#),
        (r#"{"name":"a" , "task":{} , "x":1}"#, r#"{"name":"b"  , "x":1}"#),
        (r#"{"task":{} , "name":"a"}"#, r#"{ "name":"b"}"#),
        (r#"{ "task" : {} }"#, r"{  }"),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let out = call(&body, "b", 2, None, false);
        let want = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{left}}}"#);
        assert_eq!(std::str::from_utf8(&out).unwrap(), want);
    }
}

#[test]
fn a_line_has_no_raw_line_end_but_its_last() {
    let body = CALL.replace(',', ",\r\n");
    let out = call(&body, "add", 9, None, true);
    assert_eq!(out.iter().filter(|b| matches!(b, b'\n' | b'\r')).count(), 1);
    assert!(out.ends_with(b"\n"));
    assert_eq!(one(std::str::from_utf8(&out).unwrap()).kind, Kind::Request);
}

#[test]
fn own_answers_are_messages() {
    let error = outgoing::error(Some(b"\"x\""), -32602, "no\n\"", Some(br#"{"a":1}"#));
    assert_eq!(
        error.as_ref(),
        br#"{"jsonrpc":"2.0","id":"x","error":{"code":-32602,"message":"no\n\"","data":{"a":1}}}"#
    );
    assert_eq!(
        outgoing::error(None, -1, "m", None).as_ref(),
        br#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#
    );
    assert!(matches!(incoming::read(&outgoing::result(b"1", b"{}")), Ok(Incoming::Response { failed: false, .. })));
    assert_eq!(outgoing::notification("n", None).as_ref(), br#"{"jsonrpc":"2.0","method":"n"}"#);
    assert_eq!(
        outgoing::request("m", Some(b"{}"), 3).as_ref(),
        br#"{"jsonrpc":"2.0","id":3,"method":"m","params":{}}"#
    );
}

/// Each file of the corpus: a line is `CODE TAB BODY`, code 0 for what is taken.
#[test]
fn the_corpus_gets_the_code_beside_each_line() {
    let corpus = include_str!("../../../tests/corpus/wire/bodies.tsv");
    let mut lines = 0;
    for line in corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (want, body) = line.split_once('\t').unwrap();
        assert_eq!(code(body), want.parse::<i32>().unwrap(), "{body}: {:?}", scan::body(body.as_bytes()));
        lines += 1;
    }
    assert!(lines > 40, "{lines} lines");
}

#[test]
fn a_key_that_stands_twice_in_arguments_is_noted_with_its_place() {
    let found = one(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"a/b":[1,{"k":1,"\u006b":2}]}}}"#);
    let fault = found.arguments_fault.unwrap();
    assert_eq!((&*fault.pointer, &*fault.key), ("/a~1b/1", "k"));
    let wide: String = (0..400).map(|n| format!("\"k{n}\":{n},")).collect();
    let found =
        one(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{{{wide}"k\u0037":0}}}}}}"#));
    assert_eq!(&*found.arguments_fault.unwrap().key, "k7");
}

#[test]
fn bombs_are_refused_at_their_bounds() {
    let with =
        |arguments: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{arguments}}}}}"#);
    let nest = |n: usize| with(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
    assert_eq!(code(&nest(125)), 0);
    assert_eq!(code(&nest(126)), -32600);
    assert_eq!(code(&"[".repeat(1_000_000)), -32600);
    assert_eq!(code(&with(&"{\"a\":".repeat(800_000))), -32600);
    let keys = |n: usize| with(&format!("{{{}}}", (0..n).map(|k| format!("\"{k}\":0")).collect::<Vec<_>>().join(",")));
    assert_eq!(code(&keys(1_000)), 0);
    assert_eq!(code(&keys(1_001)), -32600);
    assert_eq!(code(&with(&format!("[{}0]", "0,".repeat(99_000)))), 0);
    assert_eq!(code(&with(&format!("[{}0]", "0,".repeat(100_000)))), -32600);
    let batch = |n: usize| format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"m"}"#; n].join(","));
    assert!(matches!(scan::body(batch(32).as_bytes()), Ok(Body::Batch(all)) if all.len() == 32));
    assert_eq!(code(&batch(33)), -32600);
    assert_eq!(code(&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#, "x".repeat(254))), 0);
    assert_eq!(code(&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#, "x".repeat(255))), -32600);
}

#[test]
fn a_cut_at_any_offset_is_a_parse_error() {
    for end in 0..CALL.len() {
        assert_eq!(scan::body(&CALL.as_bytes()[..end]).unwrap_err().code(), -32700, "cut at {end}");
        assert!(incoming::read(&CALL.as_bytes()[..end]).is_err());
    }
}

#[test]
fn bad_utf8_is_a_parse_error_with_its_place() {
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"] {
        let mut body = br#"{"jsonrpc":"2.0","method":"m"#.to_vec();
        body.extend_from_slice(bad);
        body.extend_from_slice(b"\"}");
        assert_eq!(scan::body(&body), Err(Fault::Utf8 { position: 28 }));
    }
}

#[test]
fn a_backends_message_is_judged_by_its_envelope_only() {
    let read = |text: &str| incoming::read(text.as_bytes());
    let text = r#" {"result":{"a":1,"a":2,"isError":true},"id":5,"jsonrpc":"2.0"}"#;
    assert!(matches!(read(text), Ok(Incoming::Response { failed: false, tool_error: true, .. })));
    assert!(matches!(read(r#"{"jsonrpc":"2.0","id":5,"error":{}}"#), Ok(Incoming::Response { failed: true, .. })));
    assert!(read(r#"{"jsonrpc":"2.0","id":5,"id":6,"result":{}}"#).is_err());
    assert!(read(r#"{"jsonrpc":"2.0","id":5,"Id":6,"result":{}}"#).is_err());
    assert!(read(r#"{"jsonrpc":"2.0","id":5,"result":{},"error":{}}"#).is_err());
    assert!(read(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#).is_err());
    assert!(read("Server running on stdio").is_err());
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12,"progress":0.5}}"#;
    let Ok(Incoming::Notification { progress_token: Some(token), .. }) = read(progress) else { panic!("{progress}") };
    assert_eq!(token.get(progress.as_bytes()), b"12");
    let Ok(Incoming::Batch(all)) = read("[{},[1]]") else { panic!("batch") };
    assert_eq!(all.len(), 2);
    let deep = |n: usize| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(read(&deep(511)).is_ok());
    assert!(read(&deep(512)).is_err());
    assert!(read(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn the_clients_id_takes_the_place_of_ours() {
    let message = Bytes::from_static(br#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    let Ok(Incoming::Response { id, .. }) = incoming::read(&message) else { panic!("no response") };
    let want = br#"{"jsonrpc":"2.0","id":"x","result":{}}"#;
    assert_eq!(incoming::with_id(&message, id, b"\"x\"").as_ref(), want);
    assert_eq!(incoming::split_id(&message, id, &Bytes::from_static(b"\"x\"")).concat(), want);
}

/// What the answer scan passes on and how it ends, the body cut into chunks of these sizes, over and over.
pub(super) fn stream(body: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, bool, bool), AnswerFault> {
    let mut scan = AnswerScan::new(17, Bytes::from_static(b"\"client\""));
    let (mut out, mut passed, mut rest) = (Pieces::default(), Vec::new(), body);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
        scan.push(&Bytes::copy_from_slice(chunk), &mut out)?;
        passed.extend(out.drain().flatten());
        rest = after;
    }
    let end = scan.finish()?;
    Ok((passed, end.failed, end.tool_error))
}

pub(super) const ANSWER: &str = r#" {"jsonrpc":"2.0", "i\u0064" : 17 ,"result":{"content":[{"type":"text","text":"é\n\u00e9 \"😀"},-1.5e3,[],{},null,false],"isError":true}} "#;

#[test]
fn an_answer_streams_through_with_another_id_however_it_is_cut() {
    let want = ANSWER.replace(" 17 ", " \"client\" ").into_bytes();
    for first in 1..ANSWER.len() {
        for second in [1, 2, 3, 1_000] {
            assert_eq!(stream(ANSWER.as_bytes(), &[first, second]), Ok((want.clone(), false, true)));
        }
    }
    let late = r#"{"error":{"code":1},"id":17,"jsonrpc":"2.0"}"#;
    assert!(stream(late.as_bytes(), &[1]).unwrap().1);
}

#[test]
fn a_wrong_answer_is_a_fault_in_a_stream_and_whole() {
    for wrong in [
        r#"{"jsonrpc":"2.0","id":18,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"17","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17.0,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"id":17,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"\u0069d":17,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"Result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":{}} {}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":{},}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":01}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":tru}"#,
        r#"{"jsonrpc":"2.0","id":17,"result":{]}"#,
        r#"{"jsonrpc":"1.0","id":17,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":17,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":17}"#,
        r#"{"id":17,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        "<html>",
        "[]",
        "",
    ] {
        for size in [1, 7, 1_000] {
            assert!(stream(wrong.as_bytes(), &[size]).is_err(), "{wrong}");
        }
    }
    for end in 0..ANSWER.trim_end().len() {
        assert_eq!(stream(&ANSWER.as_bytes()[..end], &[5]), Err(AnswerFault::Truncated), "cut at {end}");
    }
}

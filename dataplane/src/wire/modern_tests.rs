//! What a legacy result gains and which codes change, however the answer is cut.

use bytes::Bytes;
use proptest::prelude::*;

use super::{modern::*, pieces::Pieces};

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
fn what_was_read_is_kept_by_nobody() {
    for (was, is) in [
        (
            r#"{"result":{"contents":[]}}"#,
            r#"{"result":{"contents":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#,
        ),
        (
            r#"{"result":{"ttlMs":9e9,"cacheScope":"public"}}"#,
            r#"{"result":{"ttlMs":0,"cacheScope":"private","resultType":"complete"}}"#,
        ),
        (r#"{"result":{}}"#, r#"{"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#),
    ] {
        let mut pieces = Pieces::default();
        Rewrite::with(KEPT_BY_NOBODY).push(&Bytes::from_static(was.as_bytes()), &mut pieces);
        assert_eq!(std::str::from_utf8(&joined(pieces)).unwrap(), is);
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
        let (mut rewrite, mut pieces, mut from) = (Rewrite::with(COMPLETE), Pieces::default(), 0);
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

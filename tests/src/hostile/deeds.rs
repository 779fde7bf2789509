//! What is done about one request, as far as it is the same over both transports.

use serde_json::{Value, json};

use super::{good, text};

/// Above every limit of an answer that a test has.
const HUGE: usize = 40 << 20;
const FLOOD: usize = 20_000;

/// Decided before a byte of the answer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// These messages, one after the other.
    Say(Vec<String>),
    /// The answer, after a while.
    Late { ms: u64, text: String },
    /// Nothing, ever.
    Hang,
    /// SIGKILL to itself.
    Die,
    /// What only one transport knows how to do; `good` would be the right answer.
    Break { how: String, good: String },
}

impl Deed {
    pub(super) fn answer(id: &Value, result: &Value) -> Self {
        Self::Say(vec![good(id, result)])
    }

    pub(super) fn fault(id: &Value, code: i64, message: &str) -> Self {
        Self::Say(vec![error(id, code, message)])
    }
}

fn error(id: &Value, code: i64, message: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }).to_string()
}

fn note(number: usize) -> String {
    let params = json!({ "level": "info", "data": format!("note {number}") });
    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }).to_string()
}

fn question(number: usize) -> String {
    json!({ "jsonrpc": "2.0", "id": format!("q{number}"), "method": "roots/list" }).to_string()
}

/// `arguments`: `how`, and what that needs.
pub(super) fn bad(id: &Value, arguments: &Value) -> Deed {
    let good = good(id, &text(&arguments["nonce"]));
    let with_answer = |mut before: Vec<String>| {
        before.push(good.clone());
        Deed::Say(before)
    };
    match arguments["how"].as_str().unwrap_or_default() {
        "" => Deed::Say(vec![good]),
        "ask" => with_answer((0..20).map(question).collect()),
        "die" => Deed::Die,
        "error" => Deed::fault(id, -32000, "the backend's own error"),
        "flood" => with_answer((0..FLOOD).map(note).collect()),
        "hang" => Deed::Hang,
        "huge" => Deed::answer(id, &text(&json!("x".repeat(HUGE)))),
        "no_result" => Deed::Say(vec![json!({ "jsonrpc": "2.0", "id": id }).to_string()]),
        "rubbish" => Deed::Say(vec![r#"{"jsonrpc":"2.0","id":"#.to_owned()]),
        "twice" => Deed::Say(vec![good.clone(), good]),
        "wrong_id" => Deed::Say(vec![
            json!({ "jsonrpc": "2.0", "id": 987_654_321, "result": text(&json!("not yours")) }).to_string(),
        ]),
        how => Deed::Break { how: how.to_owned(), good },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_common_deed_is_left_to_the_transport_with_the_good_answer() {
        let deed = bad(&json!(7), &json!({ "how": "reset", "nonce": "n" }));
        let Deed::Break { how, good } = deed else { panic!("{deed:?}") };
        assert_eq!(how, "reset");
        assert_eq!(serde_json::from_str::<Value>(&good).unwrap()["result"]["content"][0]["text"], "n");
        assert_eq!(bad(&json!(7), &json!({ "how": "hang" })), Deed::Hang);
    }
}

//! What a modern server asks for with `input_required`, read; and the same as we say it to a modern client.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{listen::modern::SERVER_INFO, upcall::feature::Feature, wire::outgoing};

/// Questions of one round.
const MOST: usize = 16;
/// Bytes of a server's own state.
const LONGEST_STATE: usize = 64 << 10;

/// One round that a server wants.
#[derive(Debug)]
pub(super) struct Required {
    pub(super) questions: Vec<Question>,
    /// The token of its own state.
    pub(super) state: Option<Bytes>,
}

/// One question, under the key by which its answer is known.
#[derive(Debug)]
pub struct Question {
    pub(super) key: String,
    pub(super) feature: Feature,
    /// An object, as it came.
    pub(super) params: Bytes,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    result: Said<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, Request<'a>>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl Required {
    /// Reads a whole message. Errors: it asks for nothing, for what is no question, or for too much; a sentence that fits
    /// behind "the backend failed:".
    pub(super) fn read(message: &Bytes) -> Result<Self, Cow<'static, str>> {
        let broken = |fault: serde_json::Error| format!("what it asks for is not what the schema says: {fault}");
        let Message { result: Said { input_requests, request_state } } =
            serde_json::from_slice(message).map_err(broken)?;
        let state = request_state.map(|state| Bytes::copy_from_slice(state.get().as_bytes()));
        if state.as_ref().is_some_and(|state| state.first() != Some(&b'"') || state.len() > LONGEST_STATE) {
            return Err(format!("its requestState is no string of at most {LONGEST_STATE} bytes").into());
        }
        if input_requests.is_empty() && state.is_none() {
            return Err("it asks for input and says neither what nor for what".into());
        }
        Ok(Self { questions: each(input_requests)?, state })
    }
}

/// Those of a task, from the object `inputRequests`. Errors: as of a round, but that it may ask for nothing.
pub(crate) fn questions(input_requests: &RawValue) -> Result<Vec<Question>, Cow<'static, str>> {
    let broken = |fault: serde_json::Error| format!("what it asks for is not what the schema says: {fault}");
    each(serde_json::from_str(input_requests.get()).map_err(broken)?)
}

fn each(input_requests: BTreeMap<String, Request<'_>>) -> Result<Vec<Question>, Cow<'static, str>> {
    if input_requests.len() > MOST {
        return Err(format!("it asks for more than {MOST} things at once").into());
    }
    let mut questions = Vec::with_capacity(input_requests.len());
    for (key, Request { method, params }) in input_requests {
        let feature = Feature::asked_by(&method).ok_or("it asks for what no client can be asked")?;
        let params = params.map_or(Bytes::from_static(b"{}"), |raw| Bytes::copy_from_slice(raw.get().as_bytes()));
        if params.first() != Some(&b'{') {
            return Err("the params of a question of its are no object".into());
        }
        questions.push(Question { key, feature, params });
    }
    Ok(questions)
}

/// An answer under the client's id that asks it for more. `questions`: key, what for, params.
pub(super) fn asked<'q>(
    client_id: &[u8],
    questions: impl IntoIterator<Item = (&'q str, Feature, &'q [u8])>,
    state: Option<&str>,
) -> Bytes {
    let requests = requests(questions);
    let mut result = r#"{"resultType":"input_required","#.to_owned();
    if requests != "{}" {
        result.push_str(&format!(r#""inputRequests":{requests},"#));
    }
    if let Some(state) = state {
        // Of our own alphabet: nothing to escape.
        result.push_str(&format!(r#""requestState":"{state}","#));
    }
    result.push_str(&format!(r#""_meta":{{{SERVER_INFO}}}}}"#));
    outgoing::result(client_id, result.as_bytes())
}

/// The object `inputRequests`.
pub(crate) fn requests<'q>(questions: impl IntoIterator<Item = (&'q str, Feature, &'q [u8])>) -> String {
    let mut requests = Vec::new();
    for (key, feature, params) in questions {
        let key = Value::from(key);
        let (method, params) = (feature.method(), String::from_utf8_lossy(params));
        requests.push(format!(r#"{key}:{{"method":"{method}","params":{params}}}"#));
    }
    format!("{{{}}}", requests.join(","))
}

/// The params of a modern server's question in the form of revision 2025-11-25: a URL is known by an id there.
pub(super) fn for_legacy(question: &Question) -> Bytes {
    let is_url = |said: &Map<String, Value>| said.get("mode").and_then(Value::as_str) == Some("url");
    let said: Map<String, Value> = match question.feature {
        Feature::Elicitation => serde_json::from_slice(&question.params).unwrap_or_default(),
        Feature::Roots | Feature::Sampling => Map::new(),
    };
    if !is_url(&said) || said.contains_key("elicitationId") {
        return question.params.clone();
    }
    let rest = question.params.strip_prefix(b"{").unwrap_or_default();
    let id = format!(r#"{{"elicitationId":"{}","#, uuid::Uuid::now_v7());
    [id.as_bytes(), rest].concat().into()
}

/// The params of a legacy server's question in the form of revision 2026-07-28, which knows no ids of URLs, no tasks, and
/// no `_meta` here.
pub(super) fn for_modern(params: &Bytes) -> Bytes {
    let Ok(mut said) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(params) else { return params.clone() };
    let before = said.len();
    said.retain(|key, _| !matches!(key.as_str(), "elicitationId" | "task" | "_meta"));
    if said.len() == before {
        return params.clone();
    }
    let members: Vec<_> = said.into_iter().map(|(key, raw)| format!("{}:{}", Value::from(key), raw.get())).collect();
    format!("{{{}}}", members.join(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(result: &str) -> Result<Required, Cow<'static, str>> {
        Required::read(&Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)))
    }

    #[test]
    fn questions_and_state_are_read_as_they_came() {
        let asked = r#"{"inputRequests":{"b":{"method":"roots/list"},"a \u0022":{"method":"elicitation/create","params":{ "n":1e400}}},"requestState":"\u00e9"}"#;
        let Required { questions, state } = read(asked).unwrap();
        assert_eq!(state.unwrap(), r#""\u00e9""#);
        let found: Vec<_> = questions.iter().map(|one| (&*one.key, one.feature, &*one.params)).collect();
        let wanted = [("a \"", Feature::Elicitation, &br#"{ "n":1e400}"#[..]), ("b", Feature::Roots, b"{}")];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_asks_for_nothing_or_for_no_question_is_a_fault() {
        let many: Vec<String> = (0..17).map(|at| format!(r#""{at}":{{"method":"roots/list"}}"#)).collect();
        for bad in [
            "{}".to_owned(),
            r#"{"inputRequests":{}}"#.to_owned(),
            r#"{"inputRequests":{"a":{"method":"tools/call"}}}"#.to_owned(),
            r#"{"inputRequests":{"a":{"method":"roots/list","params":[]}}}"#.to_owned(),
            r#"{"inputRequests":[],"requestState":"s"}"#.to_owned(),
            r#"{"requestState":7}"#.to_owned(),
            format!(r#"{{"requestState":"{}"}}"#, "s".repeat(LONGEST_STATE)),
            format!(r#"{{"inputRequests":{{{}}}}}"#, many.join(",")),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_we_ask_is_an_answer_with_the_clients_id() {
        let message = asked(b"\"a\"", [("k\"", Feature::Roots, &b"{}"[..])], Some("s1.x"));
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            (&message["id"], &message["result"]["resultType"]),
            (&Value::from("a"), &Value::from("input_required"))
        );
        assert_eq!(message["result"]["inputRequests"]["k\""]["method"], "roots/list");
        assert_eq!(message["result"]["requestState"], "s1.x");
    }

    #[test]
    fn a_url_gets_an_id_for_a_legacy_client_and_nothing_else_changes() {
        let question = |feature, params: &str| Question { key: "k".into(), feature, params: params.to_owned().into() };
        let url = question(Feature::Elicitation, r#"{"mode":"url","url":"https://x/","message":"m"}"#);
        let told: Value = serde_json::from_slice(&for_legacy(&url)).unwrap();
        assert!(told["elicitationId"].as_str().is_some_and(|id| id.len() == 36) && told["url"] == "https://x/");
        for same in [
            question(Feature::Elicitation, r#"{"mode":"url","elicitationId":"1","url":"https://x/","message":"m"}"#),
            question(Feature::Elicitation, r#"{"message":"m"}"#),
            question(Feature::Roots, "{}"),
        ] {
            assert_eq!(for_legacy(&same), same.params);
        }
    }
}

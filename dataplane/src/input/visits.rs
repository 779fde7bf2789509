//! Error -32042 of revision 2025-11-25: a legacy server does not do what a call asks before its client has visited URLs.
//! Each is a question like another: judged, and recorded. A client that can be sent there is: a legacy one by the same
//! error, a modern one by an answer that asks for it, after which its retry sends the call again (`protocol.md` 7.2).
//! Any other is told so.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Asking, required, state::State};
use crate::{
    backend::{Answer, Sent, Word},
    upcall::{self, feature::Feature, params::may_be_visited, questions, refusal::Refusal},
    wire::outgoing,
};

const REQUIRED: i32 = -32_042;
const LACKS_CAPABILITY: i32 = -32_021;
/// URLs of one error.
const MOST: usize = 16;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    error: Refused<'a>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    elicitations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Visit<'a> {
    #[serde(borrow)]
    mode: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// What a server wants.
struct Visits<'a> {
    message: Cow<'a, str>,
    /// The params of each, as they came.
    all: Vec<(Visit<'a>, &'a RawValue)>,
}

/// None: it is another error, and passes as it came. Errors: it is not what the schema says; a sentence that fits behind
/// "the backend failed:".
fn read(message: &[u8]) -> Result<Option<Visits<'_>>, Cow<'static, str>> {
    // The rest of a long answer is none.
    let Ok(Message { error }) = serde_json::from_slice::<Message<'_>>(message) else { return Ok(None) };
    let Some(data) = error.data.filter(|_| error.code == i64::from(REQUIRED)) else { return Ok(None) };
    let Ok(Data { elicitations: Some(elicitations) }) = serde_json::from_str(data.get()) else { return Ok(None) };
    if elicitations.is_empty() || elicitations.len() > MOST {
        return Err(format!("it wants no URL to be visited first, or more than {MOST}").into());
    }
    let mut all = Vec::with_capacity(elicitations.len());
    for raw in elicitations {
        match serde_json::from_str::<Visit<'_>>(raw.get()) {
            Ok(visit) if visit.mode == "url" => all.push((visit, raw)),
            Ok(_) => return Err("what it wants to be visited first is no URL".into()),
            Err(fault) => {
                return Err(format!("what it wants to be visited is not what the schema says: {fault}").into());
            }
        }
    }
    Ok(Some(Visits { message: error.message, all }))
}

/// Whether a client went where it was sent: an answer to an elicitation.
pub(super) fn is_accepted(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Elicited<'a> {
        #[serde(borrow)]
        action: Cow<'a, str>,
    }
    serde_json::from_slice::<Elicited<'_>>(answer).is_ok_and(|answer| answer.action == "accept")
}

/// What becomes of an error of a server. `number`: of the flight that carries its call.
pub(super) async fn refused(asking: Asking<'_>, number: u64, answer: Answer) -> Sent {
    let visits = match read(&answer.last) {
        Ok(Some(visits)) => visits,
        Ok(None) => return Sent::Answered(answer),
        Err(what) => return asking.failed(what),
    };
    let mut put = Vec::with_capacity(visits.all.len());
    for (_, raw) in &visits.all {
        let question = upcall::Question {
            call: number,
            feature: Feature::Elicitation,
            params: Bytes::copy_from_slice(raw.get().as_bytes()),
            within: true,
        };
        match upcall::ask(asking.plane, asking.call.target(), question).await {
            Ok(questions::Answer::Within(params)) => put.push(params),
            Ok(_) => {}
            Err(Refusal::Over) if asking.flight.why().is_some() => return Sent::Ended,
            Err(Refusal::Undeclared { .. }) => return undeclared(asking, &visits),
            Err(refusal) => {
                let backend = &asking.call.target().backend_name;
                let why = refusal.recorded();
                return asking.told(&format!("{backend} wants a page to be visited before it does this ({why})"));
            }
        }
    }
    if asking.call.caller().leg().is_session() { relayed(asking, &visits, &put) } else { within(asking, &put) }
}

/// To a legacy client: the same error, with what was judged.
fn relayed(asking: Asking<'_>, visits: &Visits<'_>, put: &[Bytes]) -> Sent {
    let all: Vec<_> = put.iter().map(|params| String::from_utf8_lossy(params)).collect();
    let data = format!(r#"{{"elicitations":[{}]}}"#, all.join(","));
    let id = asking.call.call().client_id();
    let last = outgoing::error(Some(&id), REQUIRED, &visits.message, Some(data.as_bytes()));
    Sent::Answered(Answer { last, failed: true, tool_error: false, word: Word::Last })
}

/// To a modern client. Nothing is kept: its retry is the call once more.
fn within(asking: Asking<'_>, put: &[Bytes]) -> Sent {
    let state = State::visited(asking.first(), &asking.call.target().backend_name);
    let Some(sealed) = asking.sealed(&state) else {
        return asking.failed("its state can't be sealed");
    };
    let questions: Vec<_> =
        put.iter().enumerate().map(|(at, params)| (format!("visit{at}"), required::for_modern(params))).collect();
    let questions = questions.iter().map(|(key, params)| (key.as_str(), Feature::Elicitation, &**params));
    let last = required::asked(&asking.call.call().client_id(), questions, Some(&sealed));
    Sent::Answered(Answer { last, failed: false, tool_error: false, word: Word::Asks })
}

/// To a client that can't be sent to a URL. A person may read there where it could be done by hand.
fn undeclared(asking: Asking<'_>, visits: &Visits<'_>) -> Sent {
    if !asking.call.caller().leg().is_session() {
        let id = asking.call.call().client_id();
        let (text, data) = (
            "this call's server wants a page to be visited first: that needs a client which declares elicitation.url",
            br#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#,
        );
        let last = outgoing::error(Some(&id), LACKS_CAPABILITY, text, Some(data));
        return Sent::Answered(Answer { last, failed: true, tool_error: false, word: Word::Last });
    }
    let backend = &asking.call.target().backend_name;
    let mut text =
        format!("{backend} wants a page to be visited before it does this, and this client can't be sent there:");
    for (visit, _) in visits.all.iter().filter(|(visit, _)| may_be_visited(&visit.url)) {
        text.push_str(&format!("\n{}: {}", visit.message, visit.url));
    }
    asking.told(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32, data: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m","data":{data}}}}}"#)
    }

    #[test]
    fn what_is_to_be_visited_is_read_and_any_other_error_passes() {
        let good = r#"{"elicitations":[{"mode":"url","elicitationId":"1","url":"https://x/","message":"in \u0022"}],"more":1}"#;
        let message = error(REQUIRED, good);
        let visits = read(message.as_bytes()).unwrap().unwrap();
        let (visit, raw) = &visits.all[0];
        assert_eq!((&*visits.message, &*visit.url, &*visit.message), ("m", "https://x/", "in \""));
        assert!(raw.get().contains("elicitationId"));
        for other in [
            error(-32_603, good),
            error(REQUIRED, "{}"),
            error(REQUIRED, "null"),
            error(REQUIRED, r#"{"elicitations":7}"#),
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(),
            r#"s":[]}}}"#.to_owned(),
        ] {
            assert!(read(other.as_bytes()).unwrap().is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_not_of_its_form_is_the_servers_fault() {
        let url = r#"{"mode":"url","url":"https://x/","message":"m"}"#;
        for bad in ["", "7", r#"{"mode":"form","url":"https://x/","message":"m"}"#, r#"{"mode":"url","message":"m"}"#] {
            assert!(read(error(REQUIRED, &format!(r#"{{"elicitations":[{bad}]}}"#)).as_bytes()).is_err(), "{bad}");
        }
        let many = vec![url; MOST + 1].join(",");
        assert!(read(error(REQUIRED, &format!(r#"{{"elicitations":[{many}]}}"#)).as_bytes()).is_err());
    }
}

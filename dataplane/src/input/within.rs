//! A modern client and a modern server: what the server asks for becomes the client's answer, each question judged and
//! recorded as an upcall. Nothing is kept here meanwhile: the server's own state travels within ours, and the client's
//! retry is a call like another, on any plane that has the key.

use bytes::Bytes;

use super::{
    Asking,
    required::{self, Question, Required},
    state::State,
};
use crate::{
    backend::{Answer, Sent, Word},
    upcall::{self, feature::Feature, questions, refusal::Refusal},
};

/// Errors of the server, as `Sent::Failed`: it asks for nothing that its client can be asked.
pub(super) async fn ask(asking: Asking<'_>, required: Required) -> Sent {
    let Required { questions, state } = required;
    let put = match judged(asking, questions).await {
        Ok(put) => put,
        Err(sent) => return sent,
    };
    let sealed = match state {
        None => None,
        Some(state) => {
            let state = State::server(asking.first(), &asking.call.target().backend_name, state);
            match asking.sealed(&state) {
                Some(sealed) => Some(sealed),
                None => return asking.failed("its state can't be sealed"),
            }
        }
    };
    let questions = put.iter().map(|(key, feature, params)| (key.as_str(), *feature, &**params));
    let last = required::asked(&asking.call.call().client_id(), questions, sealed.as_deref());
    Sent::Answered(Answer { last, failed: false, tool_error: false, word: Word::Asks })
}

/// Those of them that may be put, by their keys, with the params for the client.
///
/// Errors: how the call ends, where none of them may be.
pub(crate) async fn judged(
    asking: Asking<'_>,
    questions: Vec<Question>,
) -> Result<Vec<(String, Feature, Bytes)>, Sent> {
    let asked_for_nothing = questions.is_empty();
    let mut put: Vec<(String, Feature, Bytes)> = Vec::with_capacity(questions.len());
    let mut refused = None;
    for question in questions {
        let judged = upcall::ask(
            asking.plane,
            asking.call.target(),
            upcall::Question {
                call: asking.flight.number(),
                feature: question.feature,
                params: question.params,
                within: true,
            },
        );
        match judged.await {
            Ok(questions::Answer::Within(params)) => put.push((question.key, question.feature, params)),
            Ok(_) => {}
            Err(Refusal::Over) if asking.flight.why().is_some() => return Err(Sent::Ended),
            // Its server is not told: it asked for what it was told is not there, and may ask again for the rest.
            Err(refusal) => refused = Some((question.feature, refusal)),
        }
    }
    if let (true, Some((feature, refusal))) = (put.is_empty() && !asked_for_nothing, refused) {
        let (method, why) = (feature.method(), refusal.recorded());
        return Err(asking.failed(format!("it asks for {method}, which can't be put to its client ({why})")));
    }
    Ok(put)
}

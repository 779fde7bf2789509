//! A legacy client and a modern server: what the server asks for becomes requests to the client, on its stream, and the
//! answers go out with the call again (`protocol.md` 7.3). So many rounds, each under the same permission with a lease of
//! its own; between two of them nothing is held at the server.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use super::{
    Asking, members,
    required::{self, Question, Required},
};
use crate::{
    backend::{Answer, Sent, Word, lease::send_again},
    tasks,
    upcall::{self, feature::Feature, questions, refusal::Refusal},
};

/// Of one call; as many as SDKs' clients allow.
const MOST: u32 = 10;
/// Before a call goes out again whose server only gave a state.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(asking: Asking<'_>, mut required: Required) -> Sent {
    for round in 0..MOST {
        let responses = match answers(asking, &required.questions).await {
            Ok(responses) => responses,
            Err(sent) => return sent,
        };
        if responses.is_none() {
            let pause = (PAUSE * 2_u32.saturating_pow(round)).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _why = asking.flight.ended() => return Sent::Ended,
            }
        }
        let inputs = members(responses.as_deref(), required.state.as_deref());
        let Asking { plane, call, flight, events } = asking;
        match send_again(plane, call, flight, events, &inputs).await {
            Sent::Answered(Answer { word: Word::Task(_), .. }) => return asking.failed(tasks::NOT_DECLARED),
            Sent::Answered(answer) if answer.word == Word::Asks => match Required::read(&answer.last) {
                Ok(next) => required = next,
                Err(what) => return asking.failed(what),
            },
            sent => return sent,
        }
    }
    asking.failed(format!("it asked for input in more than {MOST} rounds"))
}

/// Puts all questions at once, and gives the object `inputResponses`; none: there are no questions.
///
/// Errors: how the call ends, where one of them has no answer that could be sent.
async fn answers(asking: Asking<'_>, questions: &[Question]) -> Result<Option<Bytes>, Sent> {
    if questions.is_empty() {
        return Ok(None);
    }
    let all = join_all(questions.iter().map(|question| {
        upcall::ask(
            asking.plane,
            asking.call.target(),
            upcall::Question {
                call: asking.flight.number(),
                feature: question.feature,
                params: required::for_legacy(question),
                within: false,
            },
        )
    }));
    let all = tokio::select! {
        biased;
        _why = asking.flight.ended() => return Err(Sent::Ended),
        all = all => all,
    };
    let mut members = Vec::with_capacity(questions.len());
    for (question, answer) in questions.iter().zip(all) {
        let answer = match (answer, question.feature) {
            (Ok(questions::Answer::Result(result)), _) => String::from_utf8_lossy(&result).into_owned(),
            // To leave a person's question unanswered is an answer.
            (Ok(_) | Err(_), Feature::Elicitation) => r#"{"action":"cancel"}"#.to_owned(),
            (Ok(_), feature) => return Err(refused(asking, feature, "its client refused")),
            (Err(refusal), feature) => return Err(refused(asking, feature, &why(&refusal))),
        };
        members.push(format!("{}:{answer}", Value::from(question.key.as_str())));
    }
    Ok(Some(format!("{{{}}}", members.join(",")).into()))
}

fn why(refusal: &Refusal) -> String {
    format!("its client could not be asked: {}", refusal.recorded())
}

/// There is no form in which a server could be told that its client refuses: the call ends here, and the server keeps
/// nothing of it.
fn refused(asking: Asking<'_>, feature: Feature, why: &str) -> Sent {
    let backend = &asking.call.target().backend_name;
    asking.told(&format!("{backend} needed {} to go on, and {why}", feature.method()))
}
